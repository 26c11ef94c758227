import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { type Processor, ProcessorError, type RunProcessor } from '../../src/processors/processor.ts'

// Processors that run in real threads and fail, stall or report as a test needs it.

const any = { inputSchema: Type.Unknown(), needsScopes: [] }
let flakes = 0

const list: Array<Omit<Processor, 'module'> & { run: RunProcessor }> = [
  {
    ...any,
    type: 'echo',
    run: (input, { progress }) => {
      progress({ percent: 50, stage: 'echoing' })
      const { text } = input as { text: string }
      return Promise.resolve({
        contentType: 'application/json', fileName: 'echo.json', message: 'echoed', body: [Buffer.from(text)]
      })
    }
  },
  { ...any, type: 'stall', run: () => new Promise(() => { setInterval(() => {}, 60_000) }) },
  {
    ...any,
    type: 'refuse',
    run: () => Promise.reject(new ProcessorError('REFUSED', 'no', { details: { why: 1 } }))
  },
  {
    ...any,
    type: 'break',
    run: () => Promise.resolve({
      contentType: 'text/plain',
      fileName: 'a.txt',
      body: (function * () {
        yield Buffer.alloc(200_000)
        throw new Error('half way')
      })()
    })
  },
  {
    ...any,
    type: 'slow',
    run: async input => {
      await delay((input as { ms: number }).ms)
      return { contentType: 'text/plain', fileName: 'a.txt', body: [Buffer.from('slow')] }
    }
  },
  {
    ...any,
    type: 'report-and-stall',
    run: (_input, { progress }) => {
      progress({ percent: 10 })
      return new Promise(() => { setInterval(() => {}, 60_000) })
    }
  },
  {
    ...any,
    type: 'half',
    run: () => Promise.resolve({
      contentType: 'text/csv',
      fileName: 'half.csv',
      body: (async function * () {
        yield Buffer.alloc(70_000)
        await new Promise(() => { setInterval(() => {}, 60_000) })
      })()
    })
  },
  {
    ...any,
    type: 'measure',
    rawInputSchema: Type.Object({ unit: Type.String() }),
    run: async (input, { rawInput }) => {
      const { unit } = input as { unit: string }
      const hash = createHash('sha256')
      for await (const bytes of rawInput?.read() ?? []) hash.update(bytes)
      const sizeBytes = rawInput?.sizeBytes ?? 0
      return {
        contentType: 'application/json',
        fileName: 'measure.json',
        message: () => `measured ${sizeBytes}`,
        counts: () => ({ [unit]: sizeBytes, nothing: 0 }),
        body: [Buffer.from(JSON.stringify({ unit, sizeBytes, sha256: hash.digest('base64') }))]
      }
    }
  },
  { ...any, type: 'crash', run: () => Promise.reject(new Error('unexpected')) },
  {
    ...any,
    type: 'flaky',
    run: () => flakes++ === 0
      ? Promise.reject(new Error('the first time'))
      : Promise.resolve({ contentType: 'text/plain', fileName: 'a.txt', body: [] })
  }
]

export const processors: ReadonlyMap<string, Processor> = new Map(list.map(({ run: _run, ...processor }) =>
  [processor.type, { ...processor, module: new URL(`?${processor.type}`, import.meta.url) }]))

// Each type is the module with a query of its own.
const typeHere = new URL(import.meta.url).search.slice(1)
export const run = list.find(({ type }) => type === typeHere)?.run
