import { type Kysely, sql } from 'kysely'
import type { JobLookup } from '../../../job/job.ts'
import { type RecordWithFacts, selectWithFacts, toRecord } from '../../sql/record-query.ts'
import { toTombstone } from '../../records.ts'
import type { Tables } from '../../tables.ts'
import { tombstoneQuery } from '../../tx/jobs.ts'
import { guardRead } from '../reads.ts'

type FoundRow = { askedFor: string } & { [Column in keyof RecordWithFacts]: RecordWithFacts[Column] | null } &
  { tombstoneVersion: number | null, tombstoneTenant: string | null, tombstoneExpiredAt: string | null }

const toLookup = (row: FoundRow): JobLookup => {
  const { askedFor: jobId, tombstoneVersion, tombstoneTenant, tombstoneExpiredAt } = row
  if (row.jobId !== null) return toRecord(row as RecordWithFacts)
  if (tombstoneVersion === null) return { kind: 'absent', jobId }
  return toTombstone({ jobId, version: tombstoneVersion, tenant: tombstoneTenant, expiredAt: tombstoneExpiredAt ?? '' })
}

/**
 * Finds many jobs in one statement, and so at one moment, records and tombstones alike. Returns them in the order of the
 * ids, none of which comes twice.
 */
export const createFindJobs = (db: Kysely<Tables>): ((jobIds: string[]) => Promise<JobLookup[]>) => {
  const id = sql.ref<string>('asked.id')
  const record = selectWithFacts(db).where('log.jobId', '=', id).compile()
  const tombstone = tombstoneQuery(db, id).compile()
  // Both are compiled by themselves, so the columns inside have the names of the outermost ones.
  const compiled = {
    ...record,
    sql: `SELECT asked.id AS "askedFor", found.*, gone."version" AS "tombstoneVersion", gone."tenant" AS "tombstoneTenant",
      gone."expiredAt" AS "tombstoneExpiredAt"
      FROM unnest($1::text[]) AS asked (id)
      LEFT JOIN LATERAL (${record.sql}) AS found ON true LEFT JOIN LATERAL (${tombstone.sql}) AS gone ON true`
  }
  return jobIds => guardRead(async () => {
    const { rows } = await db.executeQuery<FoundRow>({ ...compiled, parameters: [jobIds] })
    const byId = new Map(rows.map(row => [row.askedFor, row]))
    return jobIds.map(jobId => {
      const row = byId.get(jobId)
      return row === undefined ? { kind: 'absent', jobId } : toLookup(row)
    })
  })
}
