import { BroadcastChannel, isMainThread } from 'node:worker_threads'
import { Type } from '@sinclair/typebox'
import {
  type Processor, type ProcessorContext, ProcessorError, type ProcessorOutput, type RunProcessor
} from '../../../src/processors/processor.ts'

/** Processors that behave as the tests of the pool need, in a registry as a user could write it. */
const output = (
  body: ProcessorOutput['body'], rest: Pick<ProcessorOutput, 'message' | 'counts'> = {}
): ProcessorOutput =>
  ({ contentType: 'application/octet-stream', fileName: 'x.bin', body, ...rest })

const forever = () => new Promise<never>(resolve => setInterval(resolve, 2 ** 31 - 1, undefined as never).ref())

type Run = (
  input: { sizes: number[], secret: string }, context: ProcessorContext
) => Promise<ProcessorOutput>

const runs: Record<string, Run> = {
  pieces: async ({ sizes }) => output(sizes.map((size, at) => new Uint8Array(size).fill(at)), {
    message: () => `${sizes.length} pieces`
  }),
  timed: async ({ sizes }, { progress }) => output((function * () {
    for (const size of sizes) {
      progress({ stage: String(process.hrtime.bigint()) })
      yield new Uint8Array(size)
    }
  })(), { message: 'done' }),
  counted: async ({ sizes }) => {
    const counts = { pieces: 0, bytes: 0 }
    return output((function * () {
      for (const size of sizes) {
        yield new Uint8Array(size)
        counts.pieces++
        counts.bytes += size
      }
    })(), { counts: () => counts })
  },
  raw: async (_input, { rawInput }) => {
    if (rawInput === null) return output([], { message: 'none' })
    let taken = 0
    return output((async function * () {
      for await (const bytes of rawInput.read()) {
        taken++
        yield bytes
      }
    })(), { message: () => `${rawInput.sizeBytes} bytes in ${taken}` })
  },
  rawTwice: async (_input, { rawInput }) => {
    const first = await rawInput!.read()[Symbol.asyncIterator]().next()
    return output([first.value as Uint8Array, ...await Array.fromAsync(rawInput!.read())])
  },
  rawThrows: async (_input, { rawInput }) => output((async function * () {
    for await (const bytes of rawInput!.read()) {
      yield bytes
      if (bytes.byteLength > 0) throw new Error('enough read')
    }
  })()),
  endless: async () => output((function * () {
    for (;;) yield new Uint8Array(65_536)
  })()),
  spins: async (_input, { progress }) => {
    progress({ stage: 'spinning' })
    for (;;);
  },
  waits: async (_input, { progress }) => {
    progress({ stage: 'waiting' })
    return await forever()
  },
  reports: async (_input, { progress }) => {
    for (let done = 1; done <= 1000; done++) progress({ done, total: 1000 })
    progress({ stage: 'second', percent: 50 })
    progress({ message: 'last' })
    return output([])
  },
  fails: async () => { throw new ProcessorError('TOO_ODD', 'That is too odd.', { details: { limit: 3 } }) },
  throws: async ({ secret }) => { throw new Error(`cannot do\n    at ${secret}`) },
  throwsValue: async ({ secret }) => { throw secret as unknown as Error },
  breaks: async ({ secret }) => output((function * () {
    yield new Uint8Array(70_000)
    throw new TypeError(secret)
  })()),
  dies: async ({ secret }) => {
    setImmediate(() => { throw new Error(secret) })
    return await forever()
  },
  exits: async () => process.exit(3),
  records: async (_input, { access, records }) => {
    const { total, pages } = await records()
    const ofOneType = await records({ type: 'sum' })
    const read = [await Array.fromAsync(pages), await Array.fromAsync(ofOneType.pages)].map(
      pages => pages.flat().map(({ type }) => type)
    )
    return output([new TextEncoder().encode(JSON.stringify({ access, totals: [total, ofOneType.total], read }))])
  },
  recordsThrow: async (_input, { records }) => {
    const { pages } = await records()
    for await (const page of pages) if (page.length > 0) throw new Error('enough read')
    return output([])
  }
}

const inputSchema = Type.Object({
  sizes: Type.Optional(Type.Array(Type.Integer())),
  secret: Type.Optional(Type.String())
}, { additionalProperties: false })

const rawInputSchema = Type.Object({ name: Type.Optional(Type.String()) }, { additionalProperties: false })

export const processors: ReadonlyMap<string, Processor> = new Map(Object.keys(runs).map(type =>
  [type, {
    type,
    inputSchema,
    ...(type.startsWith('raw')
      ? { rawInputSchema }
      : {}),
    needsScopes: [],
    module: new URL(`?${type}`, import.meta.url)
  }]))

/** The name of a channel that has the URL of each module that a thread loads. */
export const loadedChannel = 'loaded'

if (!isMainThread) {
  const channel = new BroadcastChannel(loadedChannel)
  channel.postMessage(import.meta.url)
  channel.close()
}

// Each type is the module with a query of its own.
export const run = runs[new URL(import.meta.url).search.slice(1)] as RunProcessor
