import { MessageChannel } from 'node:worker_threads'
import type { Schedule } from '../../schedule.ts'
import { compileCheck } from './compile-check.ts'
import type { ProcessorTask, RunOutput, ThreadMessage, ThreadTask, ThreadWork } from './messages.ts'
import { crashed, type ThreadResult, toOutput } from './thread-result.ts'
import { createThreads } from './threads.ts'
import { type Processor, ProcessorError, type ProgressReport } from '../processor.ts'

/**
 * A run calls these one at a time and in order: `onOutput` before the first chunk, `onChunk` with 64 KiB each (the
 * last one has less). The next chunk is produced when `onChunk` has resolved. A callback that throws or rejects ends
 * the run.
 */
export type RunCallbacks = {
  signal?: AbortSignal
  onOutput?: (output: { contentType: string, fileName: string }) => void | Promise<void>
  onProgress?: (report: ProgressReport) => void | Promise<void>
  onChunk: (bytes: Uint8Array) => void | Promise<void>
}

export type ProcessorPool = {
  /**
   * Runs a task in a thread. Rejects with the processor's ProcessorError (or UNKNOWN_TYPE, INVALID_INPUT), with a
   * retryable PROCESSOR_CRASHED if the thread died or threw anything else, with the reason of an aborted `signal`, or
   * with what a callback threw. When the promise settles, no callback is under way and none will be called.
   */
  run: (task: ProcessorTask, callbacks: RunCallbacks) => Promise<RunOutput>
  /** A task of this type is about to come: if there are no threads they start, and one loads what the task needs. */
  prepare: (type: string, isRaw: boolean) => void
  /** Ends every thread; runs under way reject with PROCESSOR_CRASHED. */
  close: () => Promise<void>
}

export type ProcessorPoolNeeds = {
  /** The database that records and raw inputs are read from, in the form of the configuration. */
  databaseUrl: string
  /** Runs at once; further ones wait. */
  threads: number
  schedule: Schedule
  /** By job type. */
  processors: ReadonlyMap<string, Processor>
}

/** The module to import, and the schema of the input. Throws UNKNOWN_TYPE and INVALID_INPUT. */
const toWork = (
  processors: ProcessorPoolNeeds['processors'], type: string, isRaw: boolean
): Omit<ThreadWork, 'check'> => {
  const processor = processors.get(type)
  if (processor === undefined) throw new ProcessorError('UNKNOWN_TYPE', 'No processor runs jobs of this type.')
  const schema = isRaw ? processor.rawInputSchema : processor.inputSchema
  if (schema === undefined) throw new ProcessorError('INVALID_INPUT', `The type ${type} takes its input as JSON only.`)
  return { module: processor.module.href, schema }
}

/** Handles the messages of a thread one after the other; `stop` waits for the one under way and ignores the rest. */
const receive = ({ onOutput, onProgress, onChunk }: RunCallbacks, onError: (error: unknown) => void) => {
  const { port1: ours, port2: theirs } = new MessageChannel()
  let isOpen = true
  let handled = Promise.resolve()

  const handle = async (message: ThreadMessage) => {
    if (!isOpen) return
    if (message.kind === 'output') {
      const { contentType, fileName } = message
      return await onOutput?.({ contentType, fileName })
    }
    if (message.kind === 'progress') return await onProgress?.(message.report)
    if (message.kind === 'chunk') await onChunk(message.bytes)
    if (isOpen) ours.postMessage('next')
  }
  const close = (error: unknown) => {
    isOpen = false
    onError(error)
  }
  ours.on('message', (message: ThreadMessage) => {
    handled = handled.then(() => handle(message)).catch(close)
  })
  return {
    port: theirs,
    async stop () {
      isOpen = false
      ours.close()
      await handled
    }
  }
}

/**
 * Threads that run processors off the event loop. They start with the first run, or a task that is prepared, and end after
 * a minute without one; one that dies is replaced.
 *
 * The threads have no heap limit of their own. V8 enforces one only between two steps of JavaScript: where a built-in
 * (split, replace, JSON.parse) exceeds it, V8 ends the process. So a processor must bound its memory itself.
 */
export const createProcessorPool = ({
  databaseUrl, threads, schedule, processors
}: ProcessorPoolNeeds): ProcessorPool => {
  const { use, close, areOpen } = createThreads({ entry: new URL('./thread.ts', import.meta.url), threads, schedule })

  const run = async (task: ProcessorTask, callbacks: RunCallbacks): Promise<RunOutput> => {
    const broken = new AbortController()
    const signals = callbacks.signal === undefined ? [broken.signal] : [callbacks.signal, broken.signal]
    const signal = AbortSignal.any(signals)
    const work = toWork(processors, task.type, task.rawInput !== null)
    const { port, stop } = receive(callbacks, error => { broken.abort(error) })
    let result: ThreadResult<RunOutput>
    try {
      result = await use(threads => {
        const threadTask: ThreadTask = { task, port, databaseUrl, ...work, check: compileCheck(work.schema) }
        return threads.run(threadTask, { name: 'runTask', signal, transferList: [port] })
      }) as ThreadResult<RunOutput>
    } catch (error) {
      if (signal.aborted) throw signal.reason
      throw crashed(error instanceof Error ? error.name : 'unknown')
    } finally {
      await stop()
    }
    return toOutput(result)
  }

  const prepare = (type: string, isRaw: boolean): void => {
    if (areOpen()) return
    // What fails here fails the run, too, which reports it.
    use(threads => {
      const { module, schema } = toWork(processors, type, isRaw)
      return threads.run({ module, check: compileCheck(schema) }, { name: 'prepare' })
    }).catch(() => {})
  }

  return { run, prepare, close }
}
