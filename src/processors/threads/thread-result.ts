import { ProcessorError } from '../processor.ts'

/** How work in a thread ended. An error loses its class between threads, so that a failure travels as a value. */
export type ThreadResult<Output> =
  { kind: 'succeeded', output: Output } |
  { kind: 'failed', code: string, message: string, retryable: boolean, details?: unknown } |
  { kind: 'crashed', frames: string }

// The frames of a stack alone: what stands above them often quotes the input.
const toFrames = (error: unknown): string => {
  if (!(error instanceof Error) || error.stack === undefined) return ''
  const { message, stack } = error
  const above = stack.indexOf(message)
  return stack.slice(above === -1 ? 0 : above + message.length).split('\n').filter(line => /^ {4}at /.test(line)).join('\n')
}

/** Does the work, in the thread. Never rejects. */
export const toThreadResult = async <Output> (work: () => Output | Promise<Output>): Promise<ThreadResult<Output>> => {
  try {
    return { kind: 'succeeded', output: await work() }
  } catch (error) {
    if (!(error instanceof ProcessorError)) return { kind: 'crashed', frames: toFrames(error) }
    const { code, message, retryable, details } = error
    return { kind: 'failed', code, message, retryable, ...(details === undefined ? {} : { details }) }
  }
}

/**
 * A retryable PROCESSOR_CRASHED. The cause goes into our log, never to a client: it holds no words of the error, which
 * may quote the input.
 */
export const crashed = (cause: string): ProcessorError =>
  new ProcessorError('PROCESSOR_CRASHED', 'The processor stopped unexpectedly.', { retryable: true, cause })

/** What the work gave, out of the thread. Throws the ProcessorError that it threw, or PROCESSOR_CRASHED. */
export const toOutput = <Output> (outcome: ThreadResult<Output>): Output => {
  if (outcome.kind === 'succeeded') return outcome.output
  if (outcome.kind === 'crashed') throw crashed(outcome.frames)
  const { code, message, retryable, details } = outcome
  throw new ProcessorError(code, message, { retryable, details })
}
