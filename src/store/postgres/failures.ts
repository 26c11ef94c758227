import { ServiceFailure } from '../../errors.ts'

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

/** This server cannot be used as the store. The message, one line, says why. */
export class ServerUnusable extends Error {
  constructor (reason: string) {
    super(reason)
    this.name = 'ServerUnusable'
  }
}

/** The connection leads to a replica, which may become the primary. */
export class ReplicaReached extends ServerUnusable {
  constructor () {
    super('it is a replica, on which nothing can be written')
    this.name = 'ReplicaReached'
  }
}

/** Postgres answered COMMIT with ROLLBACK: a statement had failed, and the work went on as if it had not. */
export class CommitRefused extends Error {
  constructor () {
    super('the transaction was rolled back, because one of its statements had failed')
    this.name = 'CommitRefused'
  }
}

/**
 * The connection broke, or did not answer in time. What was under way on it may have taken place. `code`: of the cause,
 * because `/readyz` shows it in place of the message, which may contain an address.
 */
export class ConnectionLost extends Error {
  readonly code: string | undefined

  constructor (cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.name = 'ConnectionLost'
    this.code = codeOf(cause) || undefined
  }
}

/** A write has waited for its whole time limit before it could begin, because those before it wait themselves. */
export class WaitedTooLong extends Error {
  readonly code = 'WAITED_TOO_LONG'

  constructor () {
    super('the time limit of the write was over before its turn')
    this.name = 'WaitedTooLong'
  }
}

/**
 * The database is the end of another history: a standby was promoted, or a backup restored. `code`: for `/readyz`,
 * because the message contains the system identifier.
 */
export class DatabaseReplaced extends Error {
  readonly code = 'DATABASE_REPLACED'

  constructor (expected: string, found: string | null) {
    super(`the database was ${expected} and is now ${found ?? 'a replica'}`)
    this.name = 'DatabaseReplaced'
  }
}

/** The server said so, in an error with an SQLSTATE. */
const isOfServer = (error: unknown): boolean => error instanceof Error && 'severity' in error

// The server ends the session: protocol violations, an idle transaction, no connection left, and shutdowns. The driver
// has only the translated severity (FATAL, ERROR, FEHLER …), so the code decides.
const endsSession = /^(08...|25P03|53300|57P0.)$/

/** The server rejected a statement; the connection is as good as before. */
export const isServerError = (error: unknown): boolean => isOfServer(error) && !endsSession.test(codeOf(error))

// Serialization failure, deadlock, lock not available: the transaction was rolled back.
const retriedCodes = ['40001', '40P01', '55P03']

/** Nothing was committed, and the same transaction may succeed if it runs again. */
export const isRetried = (error: unknown): boolean => isServerError(error) && retriedCodes.includes(codeOf(error))

// The server starts, recovers or has no connection left.
const passingCodes = ['57P03', '53300']

/** The server is there, and takes no connection yet. */
export const isStarting = (error: unknown): boolean => passingCodes.includes(codeOf(error))

// Insufficient privilege, undefined function, feature not supported.
const notAllowedCodes = ['42501', '42883', '0A000']

/** The server does not have what was asked for, or not for this role. */
export const isNotAllowed = (error: unknown): boolean => isServerError(error) && notAllowedCodes.includes(codeOf(error))

// Connection exceptions, conflicts, insufficient resources, states of objects, and the intervention of an operator.
const passingClasses = /^(08|40|53|55|57)/

/** The database may be usable later, as after a failover: nothing is wrong with it but that it is away or busy. */
export const mayPass = (error: unknown): boolean =>
  error instanceof ConnectionLost || error instanceof ReplicaReached || error instanceof DatabaseReplaced ||
  passingClasses.test(codeOf(error))

// Data exceptions and integrity constraints: the statement itself is at fault.
const isOfStatement = (error: unknown): boolean => isServerError(error) && /^2[23]/.test(codeOf(error))

const isOfPostgres = (error: unknown): boolean =>
  error instanceof ConnectionLost || error instanceof ServerUnusable || error instanceof DatabaseReplaced ||
  error instanceof WaitedTooLong || (isOfServer(error) && !isOfStatement(error))

/** The work itself failed, or one of its statements: nothing was committed, and the database is there. */
export const isOfWork = (error: unknown): boolean => isServerError(error) || !isOfPostgres(error)

/** A failure of the database itself as one that a client may see; other errors stay as they are. */
export const toStoreFailure = (error: unknown): unknown => isOfPostgres(error)
  ? new ServiceFailure('STORE_UNAVAILABLE', 'The job store cannot be used right now.', { retryAfterSeconds: 1 }, {
    cause: error
  })
  : error
