import { performance } from 'node:perf_hooks'
import type { MessagePort } from 'node:worker_threads'
import { Ajv, type ValidateFunction } from 'ajv'
import Sqlite from 'better-sqlite3'
import { toChunks } from './chunks.ts'
import { chunkBytes, type ProcessorTask, type RunOutput, type ThreadMessage, type ThreadOutcome, type ThreadTask } from './messages.ts'
import { type Processor, type ProcessorContext, ProcessorError } from './processor.ts'
import { createProgressGate } from './progress-gate.ts'

const ajv = new Ajv({ allErrors: true, strict: false })
const validators = new Map<Processor, ValidateFunction>()

const parseInput = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    throw new ProcessorError('INVALID_INPUT', 'The input is not valid JSON.')
  }
}

const checkInput = (processor: Processor, input: unknown) => {
  const validate = validators.get(processor) ?? ajv.compile(processor.inputSchema)
  validators.set(processor, validate)
  if (validate(input)) return
  const details = (validate.errors ?? []).map(({ instancePath, keyword }) => ({ field: instancePath.slice(1), rule: keyword }))
  throw new ProcessorError('INVALID_INPUT', `The input does not fit the type ${processor.type}.`, { details })
}

const findProcessor = async (registry: string, type: string): Promise<Processor> => {
  const { processors } = await import(registry) as { processors: ReadonlyMap<string, Processor> }
  const processor = processors.get(type)
  if (processor === undefined) throw new ProcessorError('UNKNOWN_TYPE', 'No processor does jobs of this type.')
  return processor
}

const post = (port: MessagePort, message: ThreadMessage, transfer: ArrayBuffer[] = []) => {
  port.postMessage(message, transfer)
}

// Without the answer the next chunk would be produced, and pile up in the other thread's memory.
const postAndWait = (port: MessagePort, message: ThreadMessage, transfer: ArrayBuffer[] = []) =>
  new Promise(resolve => {
    port.once('message', resolve)
    post(port, message, transfer)
  })

const runProcessor = async (task: ProcessorTask, { port, databasePath, registry }: ThreadTask): Promise<RunOutput> => {
  const processor = await findProcessor(registry, task.type)
  const input = parseInput(task.input)
  checkInput(processor, input)
  const progress = createProgressGate(report => { post(port, { kind: 'progress', report }) }, () => performance.now())
  const context: ProcessorContext = {
    access: task.access,
    openDatabase: () => new Sqlite(databasePath, { readonly: true, fileMustExist: true }),
    progress: progress.report
  }
  const { contentType, fileName, message, body } = await processor.run(input, context)
  post(port, { kind: 'output', contentType, fileName })
  for await (const bytes of toChunks(body, chunkBytes)) await postAndWait(port, { kind: 'chunk', bytes }, [bytes.buffer])
  const lastMessage = typeof message === 'function' ? message() : message
  progress.flush()
  await postAndWait(port, { kind: 'end' })
  return { contentType, fileName, ...(lastMessage === undefined ? {} : { message: lastMessage }) }
}

/** The frames of a stack alone: what stands above them often quotes the input. */
const toFrames = (error: unknown): string => {
  if (!(error instanceof Error) || error.stack === undefined) return ''
  const { message, stack } = error
  const above = stack.indexOf(message)
  return stack.slice(above === -1 ? 0 : above + message.length).split('\n').filter(line => /^ {4}at /.test(line)).join('\n')
}

/** What the pool runs in a thread. Never rejects. */
export const runTask = async (threadTask: ThreadTask): Promise<ThreadOutcome> => {
  try {
    return { kind: 'succeeded', output: await runProcessor(threadTask.task, threadTask) }
  } catch (error) {
    if (!(error instanceof ProcessorError)) return { kind: 'crashed', frames: toFrames(error) }
    const { code, message, retryable, details } = error
    return { kind: 'failed', code, message, retryable, ...(details === undefined ? {} : { details }) }
  }
}
