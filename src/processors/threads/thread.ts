import { createRequire } from 'node:module'
import { performance } from 'node:perf_hooks'
import { compileFunction } from 'node:vm'
import type { MessagePort } from 'node:worker_threads'
import type { ValidateFunction } from 'ajv'
import { toChunks } from '../../job/chunks.ts'
import { removeNulls } from '../../job/json/optional.ts'
import type { ReadOnlyStore } from '../../store/store.ts'
import { openReadOnlyStore } from '../../store/open/open-read-only-store.ts'
import { chunkBytes, type RunOutput, type ThreadMessage, type ThreadTask, type ThreadWork } from './messages.ts'
import { type ThreadResult, toThreadResult } from './thread-result.ts'
import { type ProcessorContext, ProcessorError, type RunProcessor } from '../processor.ts'
import { createProgressThrottle } from './progress-throttle.ts'

// By their code.
const checks = new Map<string, ValidateFunction>()

const parseInput = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    throw new ProcessorError('INVALID_INPUT', 'The input is not valid JSON.')
  }
}

const loadCheck = (code: string): ValidateFunction => {
  const module = {} as { exports: ValidateFunction }
  const load = compileFunction(code, ['module', 'require']) as (module: object, require: NodeJS.Require) => void
  load(module, createRequire(import.meta.url))
  return module.exports
}

const checkOf = (code: string): ValidateFunction => {
  const check = checks.get(code) ?? loadCheck(code)
  checks.set(code, check)
  return check
}

const importRun = async (module: string): Promise<RunProcessor> => (await import(module) as { run: RunProcessor }).run

const checkInput = ({ task: { type }, schema, check }: ThreadTask, input: unknown) => {
  const validate = checkOf(check)
  removeNulls(schema, input)
  if (validate(input)) return
  const details = (validate.errors ?? [])
    .map(({ instancePath, keyword }) => ({ field: instancePath.slice(1), rule: keyword }))
  throw new ProcessorError('INVALID_INPUT', `The input does not fit the type ${type}.`, { details })
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

const runProcessor = async (threadTask: ThreadTask, store: ReadOnlyStore): Promise<RunOutput> => {
  const { task: { input: inputText, access, rawInput }, port, module } = threadTask
  const run = await importRun(module)
  const input = parseInput(inputText)
  checkInput(threadTask, input)
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
  const { contentType, fileName, message, counts, body } = await run(input, context)
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

/** Loads what a task of this kind needs, before there is one. */
export const prepare = async ({ module, check }: Omit<ThreadWork, 'schema'>): Promise<void> => {
  checkOf(check)
  await importRun(module)
}

/** Runs a task in a thread, for the pool. Never rejects. */
export const runTask = (threadTask: ThreadTask): Promise<ThreadResult<RunOutput>> => toThreadResult(async () => {
  const store = openReadOnlyStore(threadTask.databaseUrl)
  try {
    return await runProcessor(threadTask, store)
  } finally {
    await store.close()
  }
})
