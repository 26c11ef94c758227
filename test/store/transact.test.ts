import { once, EventEmitter } from 'node:events'
import t from 'tap'
import { insertJob } from '../../src/store/job-store.ts'
import { createTransact } from '../../src/store/transact.ts'
import { queuedJob } from './jobs.ts'
import { openForeign, openStore } from './open.ts'

// One look at the clock begins the wait, and one follows every trial that met a lock.
const countedClock = (times: (look: number) => number) => {
  const looked = new EventEmitter()
  let looks = 0
  return {
    looked,
    looks: () => looks,
    now: () => {
      looked.emit(String(++looks))
      return times(looks)
    }
  }
}

t.test('a write waits for another program, without holding up the process', async t => {
  const { database, path, store } = await openStore(t)
  const foreign = openForeign(t, path)
  const clock = countedClock(() => 0)
  const transact = createTransact({ database, now: clock.now })
  const thirdTrialMetLock = once(clock.looked, '4')

  foreign.exec("BEGIN IMMEDIATE; INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  const writing = transact(write => insertJob(write, queuedJob('ours')))
  // This very continuation can only run, and end the wait, if the loop is free between the trials.
  await thirdTrialMetLock
  t.equal((await store.find('theirs')).kind, 'absent', 'and readers go on')
  foreign.exec('COMMIT')
  await writing
  t.match(await store.find('theirs'), { job: { version: 1 } })
  t.match(await store.find('ours'), { job: { version: 2 } })
})

t.test('many waiting writes leave the event loop as free as one', async t => {
  const { database, path } = await openStore(t)
  const foreign = openForeign(t, path)
  const transact = createTransact({ database, now: () => 0 })
  foreign.exec('BEGIN IMMEDIATE')
  const writes = Array.from({ length: 20 }, (_, i) => transact(write => insertJob(write, queuedJob(`j${i}`))))
  // A wait inside SQLite would let the loop turn a handful of times in all the time that these turns take.
  for (let turn = 0; turn < 2000; turn += 1) await new Promise(resolve => { setImmediate(resolve) })
  foreign.exec('COMMIT')
  t.equal((await Promise.all(writes)).length, 20)
})

t.test('work that met a lock is begun anew, whole', async t => {
  const { database, path, store } = await openStore(t)
  const foreign = openForeign(t, path)
  const clock = countedClock(() => 0)
  let begun = 0
  foreign.exec('BEGIN IMMEDIATE')
  clock.looked.once('2', () => { foreign.exec('COMMIT') })
  const answer = await createTransact({ database, now: clock.now })(async write => {
    begun += 1
    await insertJob(write, queuedJob('j'))
    return 'answer'
  })
  t.equal(answer, 'answer')
  t.equal(begun, 1, 'the lock is met before the work begins')
  t.match(await store.find('j'), { job: { version: 1 } })
})

t.test('a lock held too long is told as STORE_UNAVAILABLE', async t => {
  const { database, path, store } = await openStore(t)
  const foreign = openForeign(t, path)
  const clock = countedClock(look => look < 3 ? 0 : 60_000)
  const transact = createTransact({ database, now: clock.now })
  foreign.exec('BEGIN IMMEDIATE')
  await t.rejects(transact(write => insertJob(write, queuedJob('j'))), {
    name: 'ServiceFailure', code: 'STORE_UNAVAILABLE', facts: { retryAfterSeconds: 1 }, cause: { code: 'SQLITE_BUSY' }
  })
  t.equal(clock.looks(), 3, 'one trial more within the bound, none after it')
  foreign.exec('ROLLBACK')
  t.equal((await store.find('j')).kind, 'absent')
  await transact(write => insertJob(write, queuedJob('j')))
  t.equal((await store.find('j')).kind, 'job', 'the next one is taken')
})

t.test('other failures are passed on at once, and as they are', async t => {
  const { database } = await openStore(t)
  const clock = countedClock(() => 0)
  const transact = createTransact({ database, now: clock.now })
  await transact(write => insertJob(write, queuedJob('j')))
  await t.rejects(transact(write => insertJob(write, queuedJob('j'))), { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' })
  const ours = new TypeError('ours')
  await t.rejects(transact(() => Promise.reject(ours)), ours)
  t.equal(clock.looks(), 3, 'none was tried again')
})

t.test('transactions of one process take turns', async t => {
  const { transact, store } = await openStore(t)
  const order: string[] = []
  await Promise.all(['a', 'b', 'c'].map(jobId => transact(async write => {
    order.push(`${jobId} begins`)
    await insertJob(write, queuedJob(jobId))
    order.push(`${jobId} ends`)
  })))
  t.same(order, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.match(await store.find('c'), { job: { version: 3 } })
})
