import { ProcessorError } from '../processor.ts'

/** How work in a thread ended. A failure is sent as a value, because an error loses its class between threads. */
export type ThreadResult<Output> =
  { kind: 'succeeded', output: Output } |
  { kind: 'failed', code: string, message: string, retryable: boolean, details?: unknown } |
  { kind: 'crashed', frames: string }

// The frames of a stack without its message, which often quotes the input.
const toFrames = (error: unknown): string => {
  if (!(error instanceof Error) || error.stack === undefined) return ''
  const { message, stack } = error
  const above = stack.indexOf(message)
  return stack.slice(above === -1 ? 0 : above + message.length).split('\n').filter(line => /^ {4}at /.test(line))
    .join('\n')
}

/** Runs work in the thread. Never rejects. */
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
 * A retryable PROCESSOR_CRASHED. The cause is logged and never sent to a client. It has no part of the error's
 * message, which may quote the input.
 */
export const crashed = (cause: string): ProcessorError =>
  new ProcessorError('PROCESSOR_CRASHED', 'The processor stopped unexpectedly.', { retryable: true, cause })

/** Reads the result outside the thread. Throws the ProcessorError that the work threw, or PROCESSOR_CRASHED. */
export const toOutput = <Output> (result: ThreadResult<Output>): Output => {
  if (result.kind === 'succeeded') return result.output
  if (result.kind === 'crashed') throw crashed(result.frames)
  const { code, message, retryable, details } = result
  throw new ProcessorError(code, message, { retryable, details })
}
