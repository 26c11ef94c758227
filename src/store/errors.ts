import { OperatorError } from '../errors.ts'

/**
 * The database cannot be opened or cannot become ours. The message, one line for the operator, names it and says why.
 * `mayPass`: it is away, and may come back by itself.
 */
export class DatabaseUnusable extends OperatorError {
  readonly mayPass: boolean

  constructor (path: string, reason: string, { mayPass = false, ...options }: ErrorOptions & { mayPass?: boolean } = {}) {
    super(`DATABASE_URL: cannot use ${path}: ${reason.replace(/\s+/g, ' ')}`, options)
    this.name = 'DatabaseUnusable'
    this.mayPass = mayPass
  }
}

/** Another service process works on this database, and the two cannot share it. The message is one line. */
export class DatabaseInUse extends OperatorError {
  constructor (path: string) {
    super(`another service process is using ${path}: several processes on one database must share a cache; ` +
      'set REDIS_URL for all of them, or stop the other one')
    this.name = 'DatabaseInUse'
  }
}

/** The files of the open database are no longer those at its path. The message says which, and what to do. */
export class DatabaseMoved extends Error {
  constructor (reason: string) {
    super(reason)
    this.name = 'DatabaseMoved'
  }
}

/** Whether something failed because the files were moved, which the check of the store reports. */
export const isMoved = (error: Error): boolean => error.cause instanceof DatabaseMoved

/**
 * A result was removed or replaced while it was read. Its reader has a part of it, and must not take that for the
 * whole.
 */
export class ResultTorn extends Error {
  constructor (jobId: string) {
    super(`the result of job ${jobId} was removed while it was read`)
    this.name = 'ResultTorn'
  }
}

/** Input bytes were removed before a job referred to them, or while they were read. */
export class InputTorn extends Error {
  constructor (inputId: string) {
    super(`the bytes of input ${inputId} are gone`)
    this.name = 'InputTorn'
  }
}

/** A database was not moved to another. The message, one line for each reason, says why. */
export class MoveFailed extends OperatorError {
  constructor (reasons: readonly string[], options?: ErrorOptions) {
    super(reasons.map(reason => reason.replace(/\s+/g, ' ')).join('\n'), options)
    this.name = 'MoveFailed'
  }
}
