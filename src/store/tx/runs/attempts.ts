import { type AttemptEnd, type AttemptOutcome, attemptsKeptMax, type Attempt } from '../../../job/attempt.ts'
import type { Kysely } from 'kysely'
import { keepStatement } from '../../sql/dialect.ts'
import type { Tx } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { together } from '../../together.ts'

/** A run that begins. `leaseHash` stands for its lease token, `startedAt` in ms since 1970. */
export type AttemptStart = { jobId: string, attempt: number, leaseHash: string, startedAt: number }

type Ended = {
  jobId: string
  outcome: AttemptOutcome
  endedAt: number
  endReport: string | null
  failureCode: string | null
  failureMessage: string | null
}

const endStatement = keepStatement((db, ended: Ended) => db.updateTable('JobAttempt').set({
  outcome: ended.outcome,
  endedAt: ended.endedAt,
  endReport: ended.endReport,
  failureCode: ended.failureCode,
  failureMessage: ended.failureMessage
}).where('jobId', '=', ended.jobId).where('outcome', 'is', null), { each: { endedAt: 'bigint' } })

/**
 * Ends the run of a job that is open, if one is. `endReport` stands for the report that ended it; null: no report did.
 * `endedAt` in ms since 1970.
 */
export const endAttempt = async (
  tx: Tx, jobId: string, { outcome, failure }: AttemptEnd, endReport: string | null, endedAt: number
): Promise<void> => {
  const [failureCode, failureMessage] = [failure?.code ?? null, failure?.message ?? null]
  await endStatement(tx, { jobId, outcome, endedAt, endReport, failureCode, failureMessage })
}

const latestRunStatement = keepStatement((db, { jobId }: { jobId: string }) =>
  db.selectFrom('JobAttempt').select(({ fn }) => fn.max('run').as('run')).where('jobId', '=', jobId), { each: {} })

/**
 * The number of the latest run of a job, which only rises: two runs have the same attempt if the first was released.
 * `attempt`: that of the record, which a release without this table may have raised.
 */
export const findRun = async (tx: Tx, jobId: string, attempt: number): Promise<number> => {
  const { rows: [latest] } = await latestRunStatement(tx, { jobId })
  return Math.max(attempt, latest?.run ?? 0)
}

type NewRun = AttemptStart & { run: number }

const insertStatement = keepStatement((db, { jobId, run, attempt, leaseHash, startedAt }: NewRun) =>
  db.insertInto('JobAttempt').values({ jobId, run, attempt, leaseHash, startedAt }), {
  each: { run: 'bigint', attempt: 'bigint', startedAt: 'bigint' }
})

const removeStatement = keepStatement((db, { jobId, runMax }: { jobId: string, runMax: number }) =>
  db.deleteFrom('JobAttempt').where('jobId', '=', jobId).where('run', '<=', runMax), { each: { runMax: 'bigint' } })

/** Records that a run begins, after the `latest` one, and removes the oldest beyond those that are kept. */
export const insertAttempt = async (tx: Tx, start: AttemptStart, latest: number): Promise<void> => {
  const { jobId, attempt, startedAt } = start
  const run = Math.max(attempt, latest + 1)
  const isFirst = latest === 0
  await together(
    // A release without this table has ended it, or another program has.
    isFirst ? undefined : endAttempt(tx, jobId, { outcome: 'lease-lost', failure: null }, null, startedAt),
    insertStatement(tx, { ...start, run }),
    isFirst ? undefined : removeStatement(tx, { jobId, runMax: run - attemptsKeptMax }))
}

/** What ended the run of this lease: a report; null: none, or the run goes on; undefined: no such run is kept. */
export const findEndReport = async (tx: Tx, jobId: string, leaseHash: string): Promise<string | null | undefined> =>
  (await tx.selectFrom('JobAttempt').select('endReport').where('jobId', '=', jobId).where('leaseHash', '=', leaseHash)
    .executeTakeFirst())?.endReport

export type AttemptRow = Pick<
  Attempt, 'attempt' | 'startedAt' | 'endedAt'
> & { outcome: string | null, failureCode: string | null, failureMessage: string | null }

/** The runs of a job, oldest first. */
export const attemptsQuery = (db: Kysely<Tables>, jobId: string) => db
  .selectFrom('JobAttempt')
  .select(['attempt', 'startedAt', 'endedAt', 'outcome', 'failureCode', 'failureMessage'])
  .where('jobId', '=', jobId)
  .orderBy('run')

export const toAttempt = (row: AttemptRow): Attempt => {
  const { attempt, startedAt, endedAt, failureCode, failureMessage } = row
  const failure = failureCode === null ? null : { code: failureCode, message: failureMessage ?? '' }
  return { attempt, startedAt, endedAt, outcome: row.outcome as AttemptOutcome | null, failure }
}
