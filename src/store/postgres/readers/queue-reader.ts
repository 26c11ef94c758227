import { type Kysely, sql } from 'kysely'
import { keepStatement } from '../../sql/dialect.ts'
import type { ClaimFilter, QueueCount, QueueReader } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { availableQuery, stuckQuery } from '../../tx/runs/queue.ts'
import type { Database } from '../database.ts'
import { createGather } from '../../gather.ts'
import { guardRead } from '../reads.ts'

const anyAvailable = (db: Kysely<Tables>, types: readonly string[], tenant: string | null, now: number) => {
  const type = sql.ref<string>('asked.type')
  return sql<{ isThere: number }>`
    SELECT 1 AS "isThere" FROM unnest(${types}::text[]) AS asked (type)
    WHERE EXISTS (${availableQuery(db, type, tenant, now)}) LIMIT 1`
}

type Asked = ClaimFilter & { now: number }

const availableStatement = keepStatement((db, { types, now }: Asked) => anyAvailable(db, types, null, now))
const availableOfTenantStatement = keepStatement((db, { types, tenant, now }: Asked) =>
  anyAvailable(db, types, tenant, now))

// Two connections are left to other reads.
const limits = { atOnceMax: 2, askedMax: 20 }

/** Workers mostly ask for the same jobs: those that do so at once share a statement. */
const createHasAvailable = ({ reads }: Database): QueueReader['hasAvailable'] => {
  const isAnyAvailable = (asked: Asked): Promise<boolean> => guardRead(async () => {
    const statement = asked.tenant === null ? availableStatement : availableOfTenantStatement
    return (await statement(reads, asked)).rows.length > 0
  })
  const gathered = createGather(
    (asked: Asked[]) => Promise.all(asked.map(isAnyAvailable)),
    ({ types, tenant }) => JSON.stringify([types, tenant]),
    limits
  )
  return (filter, now) => gathered({ ...filter, now })
}

export const createQueueReader = ({ database }: { database: Database }): QueueReader => ({
  hasAvailable: createHasAvailable(database),
  hasStuck: by => guardRead(async () => await stuckQuery(database.reads, by).limit(1).executeTakeFirst() !== undefined),
  // The server counts, beside everything else, so the count needs no slices.
  count: () => guardRead(async () => {
    const { rows } = await sql<QueueCount>`
      SELECT type, count(*) FILTER (WHERE leaseToken IS NULL) AS queued,
        count(*) FILTER (WHERE leaseToken IS NOT NULL) AS running,
        min(availableAt) FILTER (WHERE leaseToken IS NULL) AS "oldestAt"
      FROM JobQueue GROUP BY type`.execute(database.reads)
    return rows
  })
})
