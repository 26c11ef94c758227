import { once, EventEmitter } from 'node:events'
import { copyFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { sql } from 'kysely'
import t from 'tap'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { createTransact } from '../../../src/store/sqlite/transact.ts'
import type { Tx } from '../../../src/store/store.ts'
import { turnsDuring } from '../../helpers/turns.ts'
import { queuedJob } from '../jobs.ts'
import { openForeign, openStore } from '../open.ts'

const insertRow = (jobId: string) => (tx: Tx) => insertJob(tx, queuedJob(jobId))

// The clock is read once when a wait begins, and once after each trial that met a lock.
const countedClock = (times: (read: number) => number) => {
  const readings = new EventEmitter()
  let reads = 0
  return {
    readings,
    reads: () => reads,
    now: () => {
      readings.emit(String(++reads))
      return times(reads)
    }
  }
}

t.test('a write waits for another program, without holding up the process', async t => {
  const { database, path, store } = await openStore(t)
  const foreign = openForeign(t, path)
  const clock = countedClock(() => 0)
  const transact = createTransact({ database, now: clock.now })
  const thirdTrialMetLock = once(clock.readings, '4')

  foreign.exec("BEGIN IMMEDIATE; INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  const writing = transact(tx => insertJob(tx, queuedJob('ours')))
  // This very continuation can only run, and end the wait, if the loop is free between the trials.
  await thirdTrialMetLock
  t.equal((await store.jobs.find('theirs')).kind, 'absent', 'and readers go on')
  foreign.exec('COMMIT')
  await writing
  t.match(await store.jobs.find('theirs'), { job: { version: 1 } })
  t.match(await store.jobs.find('ours'), { job: { version: 2 } })
})

t.test('many waiting writes leave the event loop as free as one', async t => {
  const { database, path } = await openStore(t)
  const foreign = openForeign(t, path)
  const transact = createTransact({ database, now: () => 0 })
  foreign.exec('BEGIN IMMEDIATE')
  const writes = Array.from({ length: 20 }, (_, i) => transact(tx => insertJob(tx, queuedJob(`j${i}`))))
  // A wait inside SQLite would let the loop turn a handful of times in all the time that these turns take.
  for (let turn = 0; turn < 2000; turn += 1) await new Promise(resolve => { setImmediate(resolve) })
  foreign.exec('COMMIT')
  t.equal((await Promise.all(writes)).length, 20)
})

t.test('runs a work again from its beginning if the database was locked', async t => {
  const { database, path, store } = await openStore(t)
  const foreign = openForeign(t, path)
  const clock = countedClock(() => 0)
  let begun = 0
  foreign.exec('BEGIN IMMEDIATE')
  clock.readings.once('2', () => { foreign.exec('COMMIT') })
  const answer = await createTransact({ database, now: clock.now })(async tx => {
    begun += 1
    await insertJob(tx, queuedJob('j'))
    return 'answer'
  })
  t.equal(answer, 'answer')
  t.equal(begun, 1, 'the lock is met before the work begins')
  t.match(await store.jobs.find('j'), { job: { version: 1 } })
})

t.test('rejects with STORE_UNAVAILABLE if a lock is held too long', async t => {
  const { database, path, store } = await openStore(t)
  const foreign = openForeign(t, path)
  const clock = countedClock(read => read < 3 ? 0 : 60_000)
  const transact = createTransact({ database, now: clock.now })
  foreign.exec('BEGIN IMMEDIATE')
  await t.rejects(transact(tx => insertJob(tx, queuedJob('j'))), {
    name: 'ServiceFailure', code: 'STORE_UNAVAILABLE', facts: { retryAfterSeconds: 1 }, cause: { code: 'SQLITE_BUSY' }
  })
  t.equal(clock.reads(), 3, 'one trial more within the bound, none after it')
  foreign.exec('ROLLBACK')
  t.equal((await store.jobs.find('j')).kind, 'absent')
  await transact(tx => insertJob(tx, queuedJob('j')))
  t.equal((await store.jobs.find('j')).kind, 'job', 'the next one is taken')
})

t.test('throws other failures at once and unchanged', async t => {
  const { transact } = await openStore(t)
  let begun = 0
  const run = (work: (tx: Tx) => Promise<unknown>) => transact(async tx => {
    begun++
    return await work(tx)
  })
  await run(insertRow('j'))
  await t.rejects(run(insertRow('j')), { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' })
  const ours = new TypeError('ours')
  await t.rejects(run(() => Promise.reject(ours)), ours)
  t.equal(begun, 3, 'none was tried again')
})

t.test('transactions of one process take turns', async t => {
  const { transact, store } = await openStore(t)
  const order: string[] = []
  await Promise.all(['a', 'b', 'c'].map(jobId => transact(async tx => {
    order.push(`${jobId} begins`)
    await insertJob(tx, queuedJob(jobId))
    order.push(`${jobId} ends`)
  })))
  t.same(order, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.match(await store.jobs.find('c'), { job: { version: 3 } })
})

t.test('commits together what is asked for in one turn of the event loop', async t => {
  const { database, path } = await openStore(t)
  const transact = createTransact({ database, now: () => 0 })
  const others = openForeign(t, path).prepare('SELECT count(*) FROM JobExecutionLog').pluck()
  let seenByOthers: unknown
  const first = transact(insertRow('a'))
  const second = transact(async () => { seenByOthers = others.get() })
  t.equal(transact.waiting(), 2)
  await first
  t.equal(others.get(), 1, 'what is acknowledged is committed')
  await second
  t.equal(seenByOthers, 0, 'and nothing was before')
  t.equal(transact.waiting(), 0)
})

t.test('commits what has taken more than 8 ms, and the rest after it', async t => {
  const { database, path } = await openStore(t)
  let clockMs = 0
  const transact = createTransact({ database, now: () => clockMs })
  const others = openForeign(t, path).prepare('SELECT count(*) FROM JobExecutionLog').pluck()
  const seenByOthers = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(jobId => transact(async tx => {
    const seen = others.get()
    await insertRow(jobId)(tx)
    clockMs += 5
    return seen
  })))
  t.same(seenByOthers, [0, 0, 2, 2, 4])
})

t.test('undoes only the work that fails', async t => {
  const { transact, store } = await openStore(t)
  const ours = new TypeError('ours')
  const outcomes = await Promise.allSettled([
    transact(insertRow('a')),
    transact(async tx => {
      await insertRow('b')(tx)
      throw ours
    }),
    transact(insertRow('c'))
  ])
  t.match(outcomes, [{ status: 'fulfilled' }, { status: 'rejected', reason: ours }, { status: 'fulfilled' }])
  t.same(await Promise.all(['a', 'b', 'c'].map(async jobId => (await store.jobs.find(jobId)).kind)), [
    'job', 'absent', 'job'
  ])
})

t.test('a work that makes SQLite roll back fails alone, and nothing lost is acknowledged', async t => {
  const { transact, store } = await openStore(t)
  const cause = Object.assign(new SqliteDatabase.SqliteError('database or disk is full', 'SQLITE_FULL'))
  const outcomes = await Promise.allSettled([
    transact(insertRow('a')),
    // As SQLite does by itself after some failures.
    transact(async tx => {
      await sql`rollback`.execute(tx)
      throw cause
    }),
    transact(insertRow('c'))
  ])
  t.match(outcomes, [{ status: 'fulfilled' }, {
    status: 'rejected',
    reason: {
      code: 'STORE_UNAVAILABLE', cause
    }
  }, { status: 'fulfilled' }])
  t.same(await Promise.all(['a', 'c'].map(async jobId => (await store.jobs.find(jobId)).kind)), ['job', 'job'])
  await transact(insertRow('d'))
  t.equal((await store.jobs.find('d')).kind, 'job', 'the next one is taken')
})

t.test('lets the event loop turn between commits', async t => {
  const { transact } = await openStore(t)
  const turns = await turnsDuring(() => Promise.all(Array.from({ length: 320 }, (_, i) => transact(insertRow(`j${i}`)))))
  t.ok(turns >= 10, `${turns} turns`)
})

t.test('what was committed to a file that is no longer at its path is not acknowledged', async t => {
  for (const suffix of ['', '-wal']) {
    const { path, database, store } = await openStore(t, join(t.testdir(), `jobs${suffix}.db`))
    const transact = createTransact({ database, now: () => 0 })
    await transact(insertRow('before'))
    const outcomes = await Promise.allSettled([transact(insertRow('a')), transact(async tx => {
      await insertRow('b')(tx)
      renameSync(path + suffix, `${path}.away`)
    })])
    const unavailable = { code: 'STORE_UNAVAILABLE', cause: { message: /removed.*restart the service/ } }
    t.match(outcomes, [{ reason: unavailable }, { reason: unavailable }])
    await t.rejects(transact(() => { throw new Error('no work begins') }), unavailable)
    await t.rejects(store.jobs.find('before'), unavailable, 'nor is it read')
    await t.rejects(store.jobs.ping(), unavailable)
    renameSync(`${path}.away`, path + suffix)
    await store.jobs.ping()
    await transact(insertRow('after'))
    t.match(await store.jobs.find('after'), { kind: 'job' }, 'a file that was put back is used again')
  }
})

t.test('another file at the path is not taken for the one that was opened', async t => {
  const { path, transact, store } = await openStore(t)
  copyFileSync(path, `${path}.copy`)
  renameSync(`${path}.copy`, path)
  const replaced = { code: 'STORE_UNAVAILABLE', cause: { message: /replaced.*restart the service/ } }
  await t.rejects(transact(insertRow('a')), replaced)
  await t.rejects(store.jobs.ping(), replaced)
  rmSync(`${path}-shm`)
  await t.rejects(store.jobs.ping(), replaced)
})
