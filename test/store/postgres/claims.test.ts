import pg from 'pg'
import t from 'tap'
import type { Store } from '../../../src/store/store.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { creditLostTime } from '../../../src/store/tx/lost-time.ts'
import { enqueue, findQueueItem, nextAvailable, setLease } from '../../../src/store/tx/queue.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { item, lease } from '../conformance/store-under-test.ts'
import { queuedJob } from '../jobs.ts'
import { openOn, openStore } from './open.ts'

const server = await startPostgres(t)

const submit = ({ transact }: Store, ids: readonly string[]) => transact(async tx => {
  for (const jobId of ids) {
    await insertJob(tx, queuedJob(jobId))
    await enqueue(tx, item(jobId))
  }
})

const claim = ({ transact }: Store) => transact(async tx => {
  const found = await nextAvailable(tx, { types: ['other', 'report'], tenant: null }, 0)
  if (found !== undefined) await setLease(tx, found.jobId, lease(found.jobId))
  return found?.jobId
})

const ids = Array.from({ length: 40 }, (_, index) => `job-${index}`)

t.test('of several processes that claim at once, none gets the job of another', async t => {
  const { url, store } = await openStore(t, server)
  const stores = [store, (await openOn(t, url)).store]
  await submit(store, ids)
  const claimed = (await Promise.all(ids.map((_, index) => claim(stores[index % 2] ?? store)))).filter(Boolean)
  t.equal(new Set(claimed).size, claimed.length)
  // A claim that lost the races for all that it saw finds nothing; the job is there for the next one.
  for (let next = await claim(store); next !== undefined; next = await claim(store)) claimed.push(next)
  t.same(claimed.toSorted(), ids.toSorted())
})

t.test('passes over a job whose record another program has locked, and takes it later', async t => {
  const { url, store } = await openStore(t, server)
  await submit(store, ['first', 'second'])
  const foreign = new pg.Client(url)
  await foreign.connect()
  t.teardown(() => foreign.end())
  await foreign.query("BEGIN; UPDATE JobExecutionLog SET progressMessage = 'x' WHERE jobId = 'first'")
  t.equal(await claim(store), 'second')
  t.equal(await claim(store), undefined, 'and waits for none')
  await foreign.query('COMMIT')
  t.equal(await claim(store), 'first')
})

t.test('an outage that several processes credit at once extends a lease once', async t => {
  const { url, store } = await openStore(t, server)
  const stores = [store, (await openOn(t, url)).store, (await openOn(t, url)).store]
  await submit(store, ['held'])
  const [beganAt, lostMs] = [1_800_000_000_000, 10_000]
  await store.transact(tx => setLease(tx, 'held', lease('held', { leaseMs: 60_000, leaseExpiresAt: beganAt + 5000 })))
  for (let outages = 1; outages <= 5; outages++) {
    const from = beganAt + outages * lostMs
    await Promise.all(stores.map(({ transact }) =>
      transact(tx => creditLostTime(tx, [{ beganAt: from, endedAt: from + lostMs }], 0))))
    const found = await store.transact(tx => findQueueItem(tx, 'held'))
    t.equal(found?.leaseExpiresAt, beganAt + 5000 + outages * lostMs)
  }
})
