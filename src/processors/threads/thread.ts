import { performance } from 'node:perf_hooks'
import type { MessagePort } from 'node:worker_threads'
import type { TSchema } from '@sinclair/typebox'
import { Ajv, type ValidateFunction } from 'ajv'
import { toChunks } from '../../job/chunks.ts'
import { removeNulls } from '../../job/optional.ts'
import type { ReadOnlyStore } from '../../store/store.ts'
import { openReadOnlyStore } from '../../store/open-read-only-store.ts'
import { chunkBytes, type RunOutput, type ThreadMessage, type ThreadTask } from './messages.ts'
import { type ThreadResult, toThreadResult } from './thread-result.ts'
import { type Processor, type ProcessorContext, ProcessorError } from '../processor.ts'
import { createProgressThrottle } from './progress-throttle.ts'

const ajv = new Ajv({ allErrors: true, strict: false })
const validators = new Map<TSchema, ValidateFunction>()

const parseInput = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    throw new ProcessorError('INVALID_INPUT', 'The input is not valid JSON.')
  }
}

const checkInput = ({ type, inputSchema, rawInputSchema }: Processor, input: unknown, isRaw: boolean) => {
  const schema = isRaw ? rawInputSchema : inputSchema
  if (schema === undefined) throw new ProcessorError('INVALID_INPUT', `The type ${type} takes its input as JSON only.`)
  const validate = validators.get(schema) ?? ajv.compile(schema)
  validators.set(schema, validate)
  removeNulls(schema, input)
  if (validate(input)) return
  const details = (validate.errors ?? [])
    .map(({ instancePath, keyword }) => ({ field: instancePath.slice(1), rule: keyword }))
  throw new ProcessorError('INVALID_INPUT', `The input does not fit the type ${type}.`, { details })
}

const findProcessor = async (registry: string, type: string): Promise<Processor> => {
  const { processors } = await import(registry) as { processors: ReadonlyMap<string, Processor> }
  const processor = processors.get(type)
  if (processor === undefined) throw new ProcessorError('UNKNOWN_TYPE', 'No processor runs jobs of this type.')
  return processor
}

const post = (port: MessagePort, message: ThreadMessage, transfer: ArrayBuffer[] = []) => {
  port.postMessage(message, transfer)
}

// Waiting for the answer keeps chunks from piling up in the memory of the other thread.
const postAndWait = (port: MessagePort, message: ThreadMessage, transfer: ArrayBuffer[] = []) =>
  new Promise(resolve => {
    port.once('message', resolve)
    post(port, message, transfer)
  })

const runProcessor = async ({ task, port, registry }: ThreadTask, store: ReadOnlyStore): Promise<RunOutput> => {
  const { type, access, rawInput } = task
  const processor = await findProcessor(registry, type)
  const input = parseInput(task.input)
  checkInput(processor, input, rawInput !== null)
  const progress = createProgressThrottle(
    report => { post(port, { kind: 'progress', report }) }, () => performance.now()
  )
  const context: ProcessorContext = {
    access,
    rawInput: rawInput === null ? null : { sizeBytes: rawInput.sizeBytes, read: () => store.readInput(rawInput) },
    records: filter => store.records(access, filter?.type),
    progress: progress.report,
    now: () => Date.now()
  }
  const { contentType, fileName, message, counts, body } = await processor.run(input, context)
  post(port, { kind: 'output', contentType, fileName })
  for await (const bytes of toChunks(body, chunkBytes)) {
    await postAndWait(port, { kind: 'chunk', bytes }, [bytes.buffer])
  }
  const lastMessage = typeof message === 'function' ? message() : message
  progress.flush()
  await postAndWait(port, { kind: 'end' })
  return {
    contentType,
    fileName,
    ...(lastMessage === undefined ? {} : { message: lastMessage }),
    ...(counts === undefined ? {} : { counts: { ...counts() } })
  }
}

/** Runs a task in a thread, for the pool. Never rejects. */
export const runTask = (threadTask: ThreadTask): Promise<ThreadResult<RunOutput>> => toThreadResult(async () => {
  const store = await openReadOnlyStore(threadTask.databaseUrl)
  try {
    return await runProcessor(threadTask, store)
  } finally {
    await store.close()
  }
})
