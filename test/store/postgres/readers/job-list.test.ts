import { sql } from 'kysely'
import t from 'tap'
import { insertJob } from '../../../../src/store/tx/jobs.ts'
import { startPostgres } from '../../../helpers/postgres.ts'
import { allJobs, queuedJob } from '../../jobs.ts'
import { openStore } from '../open.ts'

const server = await startPostgres(t)

t.test('a list has the same statements however many rows it finds', async t => {
  const { store, database: { reads } } = await openStore(t, server)
  await store.transact(async tx => {
    for (let index = 0; index < 20; index++) await insertJob(tx, queuedJob(`j-${index}`))
  })
  // One after the other, all of them have the same connection.
  const countPrepared = async () =>
    (await sql<{ count: number }>`SELECT count(*) AS count FROM pg_prepared_statements`.execute(reads)).rows[0]?.count
  const listOf = async (limit: number) => (await store.jobs.list(allJobs, null, limit)).lookups.length
  t.strictSame([await listOf(3), await listOf(30)], [3, 20], 'of a full page and of the last one')
  await countPrepared()
  const prepared = await countPrepared()
  for (let limit = 1; limit <= 20; limit++) t.equal(await listOf(limit), limit)
  t.equal(await countPrepared(), prepared)
})
