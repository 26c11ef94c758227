import t from 'tap'
import { reasonOf } from '../../../../src/errors.ts'
import { DatabaseReplaced } from '../../../../src/store/postgres/failures.ts'
import { openForProcess } from '../../../../src/store/postgres/open.ts'
import { createPostgresStore } from '../../../../src/store/postgres/postgres-store.ts'
import { startPostgresPair } from '../../../helpers/postgres-pair.ts'
import { until } from '../../../helpers/until.ts'

const clocks = { now: () => Date.now(), monotonicNow: () => performance.now(), random: () => Math.random() }

/*
 * After a failover that lost commits, a version may stand for another change than the one that a client has seen under
 * it: a read of the new history under the old incarnation would be answered with 304. The epoch rows are read ten times
 * a second, so that such a read could come before them.
 */
t.test('no statement reaches a database that has taken the place of the opened one, before the epoch is read', async t => {
  const pair = await startPostgresPair(t)
  const url = await pair.createDatabase()
  const opened = await openForProcess(url, clocks.monotonicNow)
  let replacements = 0
  const store = createPostgresStore({ ...opened, ...clocks, onReplaced: () => { replacements++ } })
  t.teardown(store.close)
  const insert = (jobId: string) => store.transact(tx =>
    tx.insertInto('JobExecutionLog').values({ jobId, status: 'Running' }).execute())
  await insert('a')
  const found = await store.jobs.find('a')
  t.not(found.kind, 'absent')

  const [, standby] = pair.servers
  standby?.pause()
  const unconfirmed = t.rejects(insert('unconfirmed'), { code: 'STORE_UNAVAILABLE' },
    'a commit that an operator lets go on without the standby is not acknowledged')
  const isCancelled = async () => (await pair.sql(`
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)).rowCount === 1
  await until(isCancelled, 'a commit that waits for the standby')
  await unconfirmed
  standby?.resume()
  await pair.synchronize()
  await pair.primary().kill()
  await pair.promote()
  const replaced = { code: 'STORE_UNAVAILABLE', cause: { name: 'DatabaseReplaced' } }
  // Each pool first finds that the connections which it keeps are gone.
  const rejectsInTheEnd = async (act: () => Promise<unknown>, what: string) => {
    let error: unknown
    for (let trial = 0; trial < 20; trial++) {
      error = await act().then(() => undefined, (error: unknown) => error)
      if (error === undefined || (error as Error).cause instanceof DatabaseReplaced) break
    }
    t.match(error, replaced, what)
    t.equal(reasonOf((error as Error).cause), 'DATABASE_REPLACED', 'what /readyz shows has no identifier of the server')
  }
  await rejectsInTheEnd(() => store.jobs.find('a'), 'a read')
  await rejectsInTheEnd(() => insert('b'), 'a write')
  await rejectsInTheEnd(() => store.changes.follow(), 'a follower')
  await rejectsInTheEnd(() => store.epoch.read(), 'a refresh of the view')
  t.equal(replacements, 1, 'reported once')
  const { rows } = await pair.sql('SELECT jobId FROM JobExecutionLog', 'test_1')
  t.same(rows, [{ jobid: 'a' }, { jobid: 'unconfirmed' }])
  const again = await openForProcess(url, clocks.monotonicNow)
  t.not(again.incarnation, opened.incarnation, 'it has to be opened again')
  const next = createPostgresStore({ ...again, ...clocks, onReplaced: () => {} })
  t.teardown(next.close)
  t.same(await next.jobs.find('a'), found)
})
