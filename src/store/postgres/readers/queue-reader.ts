import { sql } from 'kysely'
import type { QueueCount, QueueReader } from '../../store.ts'
import { availableQuery, stuckQuery } from '../../tx/queue.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

export const createQueueReader = ({ database: { reads } }: { database: Database }): QueueReader => ({
  hasAvailable: ({ types, tenant }, now) => guardRead(async () => {
    const type = sql.ref<string>('asked.type')
    const { rows } = await sql`
      SELECT 1 FROM unnest(${[...types]}::text[]) AS asked (type)
      WHERE EXISTS (${availableQuery(reads, type, tenant, now)}) LIMIT 1`.execute(reads)
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
