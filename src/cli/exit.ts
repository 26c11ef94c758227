import { CommanderError } from 'commander'
import { JobServiceError, type Task } from '../client/client.ts'

/** What the command ends with; where sysexits.h has a code, that one. */
export const exitCodes = {
  succeeded: 0, failed: 1, cancelled: 2, gone: 3, usage: 64, unreachable: 69, internal: 70, token: 77, timeout: 124, interrupted: 130
} as const

/** Ends the command with this code, and a line on standard error unless it is empty. */
export class Exit extends Error {
  readonly code: number

  constructor (code: number, line = '') {
    super(line)
    this.code = code
  }
}

const codesOf: Partial<Record<string, number>> = {
  UNREACHABLE: exitCodes.unreachable,
  STORE_UNAVAILABLE: exitCodes.unreachable,
  OVERLOADED: exitCodes.unreachable,
  RATE_LIMITED: exitCodes.unreachable,
  UNAUTHORIZED: exitCodes.token,
  FORBIDDEN: exitCodes.token,
  VALIDATION_FAILED: exitCodes.usage,
  INVALID_TASK_ID: exitCodes.usage,
  CALLBACK_REFUSED: exitCodes.usage,
  IDEMPOTENCY_KEY_REUSED: exitCodes.usage,
  PAYLOAD_TOO_LARGE: exitCodes.usage,
  JOB_CANCELLED: exitCodes.cancelled,
  NO_RESULT: exitCodes.failed
}

// 1 is left to jobs that failed: a fault of the service is not the job's.
const codeOf = ({ code, status }: JobServiceError): number =>
  codesOf[code] ?? (status === 404 || status === 410 ? exitCodes.gone : status >= 500 ? exitCodes.unreachable : exitCodes.failed)

/** The line and the code of a failure. */
export const toFailure = (error: unknown): { line: string, code: number } => {
  if (error instanceof Exit) return { line: error.message, code: error.code }
  if (error instanceof CommanderError) {
    // It has written the line itself; help is no failure.
    return { line: '', code: error.exitCode === 0 ? exitCodes.succeeded : exitCodes.usage }
  }
  if (error instanceof JobServiceError) {
    return { line: `job-status: ${error.message} (${error.code})`, code: codeOf(error) }
  }
  const { message } = error as Error
  return { line: `job-status: ${message}`, code: exitCodes.internal }
}

/** What a job that has ended makes the command end with. */
export const codeOfEnd = ({ status }: Task): number =>
  status === 'succeeded' ? exitCodes.succeeded : status === 'cancelled' ? exitCodes.cancelled : exitCodes.failed
