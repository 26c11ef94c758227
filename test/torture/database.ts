import type { Random } from '../helpers/random.ts'
import type { Fault } from './nemesis.ts'
import { openPostgres } from './postgres-database.ts'
import { openSqlite } from './sqlite-database.ts'

/** What the processes share as their record: a SQLite file, or a Postgres. */
export const databaseKinds = ['sqlite', 'postgres'] as const
export type DatabaseKind = typeof databaseKinds[number]

/** The name of the fault after which the processes have another database: the standby, with another incarnation. */
export const failover = 'fail over to the standby'

/** A record as another program reads it. */
export type RecordRow = { jobId: string, status: string, version: number, cancelledAt: string | null }

/** Another program that writes the record, outside the service and without knowing it. */
export type ForeignProgram = {
  /**
   * Runs a statement with the jobId as its only parameter. Resolves to the version of the row after the commit, 0 without
   * a row. Tried again while the database cannot take it.
   */
  write: (sql: string, jobId: string) => Promise<number>
  close: () => Promise<void>
}

/** The database of the processes, and what can be done to it. */
export type TorturedDatabase = {
  /** The DATABASE_URL of a process. */
  urlOf: (process: number) => Promise<string>
  connect: (random: Random) => ForeignProgram
  readRecords: () => Promise<RecordRow[]>
  faults: readonly Fault[]
  /** Whether a fault may end streams and cursors of the change feed: a crash of Postgres ends all of them. */
  interruptsFeed: boolean
  close: () => Promise<void>
}

/** `folder` is its own, to write in. */
export const openDatabase = async (kind: DatabaseKind, folder: string): Promise<TorturedDatabase> =>
  kind === 'sqlite' ? openSqlite(folder) : await openPostgres()
