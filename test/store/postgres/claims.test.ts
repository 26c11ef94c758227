import {
  type CompiledQuery, type DatabaseConnection, type Dialect, DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector
} from 'kysely'
import pg from 'pg'
import t from 'tap'
import { FoldingCompiler } from '../../../src/store/postgres/connection/folding-compiler.ts'
import type { Store, Tx } from '../../../src/store/store.ts'
import { nextAvailable } from '../../../src/store/tx/runs/available.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { creditLostTime } from '../../../src/store/tx/lost-time.ts'
import { enqueue, findQueueItem, setLease } from '../../../src/store/tx/runs/queue.ts'
import { createParts } from '../../helpers/parts.ts'
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

const dialect: Dialect = {
  createAdapter: () => new PostgresAdapter(),
  createDriver: () => new DummyDriver(),
  createIntrospector: db => new PostgresIntrospector(db),
  createQueryCompiler: () => new FoldingCompiler()
}

// The statement by which a claim finds its job, which nothing runs.
const claimStatement = async (): Promise<CompiledQuery> => {
  let found: CompiledQuery | undefined
  const db = new Kysely<never>({ dialect, log: ({ query }) => { found = query } })
  await nextAvailable(db as unknown as Tx, { types: ['report'], tenant: null }, 0)
  if (found === undefined) throw new Error('no statement was sent')
  return found
}

t.test('locks no record of a job that another process claims after the claim has begun', async t => {
  const { url, store } = await openStore(t, server)
  await submit(store, ['first', 'second'])
  const other = new pg.Client(url)
  await other.connect()
  t.teardown(() => other.end())
  const { sql, parameters } = await claimStatement()
  await other.query('BEGIN')
  // A cursor sees what was there when it was declared, and locks a row when it comes to it.
  await other.query(`DECLARE claimed CURSOR FOR ${sql}`, [...parameters])
  t.equal(await claim(store), 'first')
  t.same((await other.query('FETCH 1 FROM claimed')).rows.map(({ jobId }) => jobId as string), ['second'])
  const free = await store.transact(tx =>
    tx.selectFrom('JobExecutionLog').select('jobId').forUpdate().skipLocked().execute())
  t.same(free.map(({ jobId }) => jobId), ['first'], 'and its worker can report at once')
})

// Runs the statement by which a claim finds its job as slowly as to let something happen between its beginning and the lock.
const slowly = (client: pg.Client, meanwhile: () => Promise<unknown>): Tx => {
  const executeQuery = async ({ sql, parameters }: CompiledQuery) => {
    const values = [...parameters]
    if (!sql.includes('SKIP LOCKED')) return await client.query(sql, values)
    await client.query('BEGIN')
    await client.query(`DECLARE claimed CURSOR FOR ${sql}`, values)
    await meanwhile()
    return await client.query('FETCH 1 FROM claimed')
  }
  class SlowDriver extends DummyDriver {
    override acquireConnection = () => Promise.resolve({
      executeQuery, streamQuery: () => { throw new Error('nothing is streamed') }
    } as unknown as DatabaseConnection)
  }
  return new Kysely<never>({ dialect: { ...dialect, createDriver: () => new SlowDriver() } }) as unknown as Tx
}

t.test('reads again what a run has changed that began and ended since the claim has begun', async t => {
  const { url, store } = await openStore(t, server)
  const { submitJob, claimJob, runJob } = createParts(store)
  const { jobId } = await submitJob({ subject: 'alice', tenant: 'acme', allTenants: false }, { type: 'report', input: 1 }, null)
  const int8 = pg.types.builtins.INT8
  const client = new pg.Client({
    connectionString: url,
    types: { getTypeParser: (oid, format) => oid === int8 ? Number : pg.types.getTypeParser(oid, format) as never }
  })
  await client.connect()
  t.teardown(() => client.end())
  const tx = slowly(client, async () => {
    const claimed = await claimJob({ types: ['report'], tenant: null }, 'w', 60_000)
    if (claimed === null) throw new Error('nothing was claimed')
    await runJob.append(claimed, 0, Buffer.from('half'), { contentType: 'text/csv', fileName: 'r.csv' })
    await runJob.release(claimed)
  })
  const found = await nextAvailable(tx, { types: ['report'], tenant: null }, Date.now() + 60_000)
  const lookup = await store.jobs.find(jobId)
  t.match(found, { jobId, input: { input: '1' }, latestRun: 1, sizeBytes: 4 })
  t.same(found?.lookup, lookup)
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
