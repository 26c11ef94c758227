import { type Kysely, sql } from 'kysely'
import { keepStatement } from '../../dialect.ts'
import type { QueueCount, QueueReader } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { availableQuery, stuckQuery } from '../../tx/queue.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

type Asked = { types: readonly string[], now: number }

const anyAvailable = (db: Kysely<Tables>, types: readonly string[], tenant: string | null, now: number) => {
  const type = sql.ref<string>('asked.type')
  return sql<{ isThere: number }>`
    SELECT 1 AS "isThere" FROM unnest(${types}::text[]) AS asked (type)
    WHERE EXISTS (${availableQuery(db, type, tenant, now)}) LIMIT 1`
}

const availableStatement = keepStatement((db, { types, now }: Asked) => anyAvailable(db, types, null, now))
const availableOfTenantStatement = keepStatement((db, { types, now, tenant }: Asked & { tenant: string }) =>
  anyAvailable(db, types, tenant, now))

export const createQueueReader = ({ database: { reads } }: { database: Database }): QueueReader => ({
  hasAvailable: ({ types, tenant }, now) => guardRead(async () => {
    const { rows } = tenant === null
      ? await availableStatement(reads, { types, now })
      : await availableOfTenantStatement(reads, { types, now, tenant })
    return rows.length > 0
  }),
  hasStuck: by => guardRead(async () => await stuckQuery(reads, by).limit(1).executeTakeFirst() !== undefined),
  // The server counts, beside everything else, so the count needs no slices.
  count: () => guardRead(async () => {
    const { rows } = await sql<QueueCount>`
      SELECT type, count(*) FILTER (WHERE leaseToken IS NULL) AS queued,
        count(*) FILTER (WHERE leaseToken IS NOT NULL) AS running,
        min(availableAt) FILTER (WHERE leaseToken IS NULL) AS "oldestAt"
      FROM JobQueue GROUP BY type`.execute(reads)
    return rows
  })
})
