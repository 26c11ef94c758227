import type { Test } from 'tap'
import { type CallbackQueue, callbacksMax, type Settled } from '../../../src/job/callbacks/callback.ts'
import {
  addCallback, claimCallbacks, findRedelivered, makeDue, releaseCallback, setCallbackBody, settleCallback
} from '../../../src/store/tx/callbacks.ts'
import { deleteJob, insertJob, updateJob } from '../../../src/store/tx/jobs.ts'
import { jobOf, queuedJob, runningJob, succeededJob } from '../jobs.ts'
import type { Conformance, OpenStoreUnderTest, StoreUnderTest } from './store-under-test.ts'

const later = Date.now() + 3_600_000

const delivered: Settled =
  { state: 'delivered', tries: 1, lastStatus: 200, lastError: null, lastTriedAt: 70, nextTryAt: null }
const failing: Settled =
  { state: 'pending', tries: 1, lastStatus: 500, lastError: 'answered 500', lastTriedAt: 70, nextTryAt: later - 5 }

/** A store with an unfinished job `j` and what a test does to its callbacks. */
const openCallbacks = async (t: Test, open: OpenStoreUnderTest) => {
  const opened = await open(t)
  const { transact, jobs, callbacks } = opened.store
  await transact(tx => insertJob(tx, runningJob('j')))
  const claim = (host = 'h:443', at = later, limit = 10, token = 'lease', tenant = 'acme') =>
    transact(tx => claimCallbacks(tx, { host, tenant }, at, limit, { token, endsAt: at + 30 }))
  return {
    ...opened,
    transact,
    callbacks,
    add: (id: string, more: { jobId?: string, tenant?: string, url?: string, host?: string, isEnded?: boolean, addedAt?: number } = {}) => {
      const { jobId = 'j', tenant = 'acme', url = `https://h/${id}`, host = 'h:443', isEnded = false, addedAt = 50 } = more
      const callback = { id, jobId, tenant, url, host, secret: null, addedAt }
      return transact(tx => addCallback(tx, callback, isEnded))
    },
    claim,
    claimedIds: async (...args: Parameters<typeof claim>) => (await claim(...args)).map(({ id }) => id),
    settle: (id: string, settled: Settled, token = 'lease') => transact(tx => settleCallback(tx, id, token, settled)),
    list: async (jobId = 'j') => (await jobs.findWithCallbacks(jobId)).callbacks,
    end: async () => {
      const { version } = jobOf(await jobs.find('j'))
      await transact(tx => updateJob(tx, succeededJob('j', { version })))
    }
  }
}

const adding: Conformance = (t, open) => {
  t.test('keeps the callbacks of a job, each URL once', async t => {
    const { add, list, store } = await openCallbacks(t, open)
    t.same(await list(), [])
    t.ok(await add('b', { addedAt: 60 }))
    t.ok(await add('a'))
    t.ok(await add('c', { url: 'https://h/a' }), 'there already')
    t.strictSame(await list(), ['a', 'b'].map(id => ({
      id,
      jobId: 'j',
      tenant: 'acme',
      url: `https://h/${id}`,
      state: 'waiting',
      tries: 0,
      lastStatus: null,
      lastError: null,
      lastTriedAt: null,
      nextTryAt: null
    })))
    t.match(await store.jobs.findWithCallbacks('j'), { lookup: { kind: 'job', job: { jobId: 'j' } } })
    t.match(await store.jobs.findWithCallbacks('never-made'), { lookup: { kind: 'absent' }, callbacks: [] })
  })

  t.test('keeps a bounded number for a job', async t => {
    const { add, list } = await openCallbacks(t, open)
    for (let count = 0; count < callbacksMax; count++) t.ok(await add(`c${count}`))
    t.notOk(await add('more'))
    t.ok(await add('again', { url: 'https://h/c1' }))
    t.equal((await list()).length, callbacksMax)
  })

  t.test('one that is added after the end is due at once', async t => {
    const { add, end, callbacks, claimedIds } = await openCallbacks(t, open)
    await end()
    await add('late', { isEnded: true, addedAt: 90 })
    t.notOk(await callbacks.hasDue(89))
    t.ok(await callbacks.hasDue(90))
    t.same(await claimedIds('h:443', 90), ['late'])
  })
}

type Replacing = StoreUnderTest['replacing']

const ends: ReadonlyArray<readonly [name: string, toStatement: (replacing: Replacing) => string]> = [
  ['an update', () => "UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = 'j'"],
  ['an update of every row', () => "UPDATE JobExecutionLog SET status = 'Failed', type = 'x'"],
  ['a replacement', replacing => replacing({ jobId: 'j', status: 'Failed' })],
  ['an upsert', () => `INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Succeeded')
    ON CONFLICT (jobId) DO UPDATE SET status = excluded.status`]
]

const due: Conformance = (t, open) => {
  t.test('is due with the end of its job, and not before', async t => {
    const { add, list, end, sql, replacing, callbacks } = await openCallbacks(t, open)
    await add('a')
    await sql("UPDATE JobExecutionLog SET progressPercent = 50, status = 'Running', type = 'x' WHERE jobId = 'j'")
    await sql(replacing({ jobId: 'j', status: 'Running', tenant: 'acme' }))
    t.match(await list(), [{ state: 'waiting', nextTryAt: null }])
    t.notOk(await callbacks.hasDue(later))
    const before = Date.now()
    await end()
    const [callback] = await list()
    t.equal(callback?.state, 'pending')
    t.ok((callback?.nextTryAt ?? 0) >= before - 1 && (callback?.nextTryAt ?? Infinity) <= Date.now(), 'now')
    t.ok(await callbacks.hasDue(Date.now()))
  })

  for (const [name, toStatement] of ends) {
    t.test(`is due when another program ends the job by ${name}`, async t => {
      const { add, list, claim, sql, replacing } = await openCallbacks(t, open)
      await add('a')
      await sql(toStatement(replacing))
      t.match(await list(), [{ state: 'pending' }])
      t.match(await claim(), [{ id: 'a', jobId: 'j', isGone: false, tries: 0, body: null, secret: null }])
      await sql("UPDATE JobExecutionLog SET type = 'y' WHERE jobId = 'j'")
      t.same(await claim(), [], 'and once')
    })
  }

  t.test('is due when its job is deleted before its end, and then belongs to no job', async t => {
    const { add, list, claim, settle, sql, count } = await openCallbacks(t, open)
    await add('a')
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'j'")
    t.same(await list(), [])
    t.match(await claim(), [{ id: 'a', jobId: 'j', isGone: true }])
    t.ok(await settle('a', failing))
    t.equal(await count('JobCallback'), 1)
    await claim()
    t.ok(await settle('a', { ...failing, state: 'failed', nextTryAt: null }))
    t.equal(await count('JobCallback'), 0, 'no client could read it')
  })

  t.test('waits for the end again where a program deletes a row and inserts it', async t => {
    const { add, list, claim, sql, transact } = await openCallbacks(t, open)
    const replace = async (status: string) => {
      await sql("DELETE FROM JobExecutionLog WHERE jobId = 'j'")
      await sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${status}')`)
    }
    await add('a')
    await replace('Running')
    t.match(await list(), [{ id: 'a', state: 'waiting', nextTryAt: null }])
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'j'")
    await claim()
    await transact(tx => setCallbackBody(tx, 'a', '{"type":"job.gone"}'))
    await sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Running')")
    t.same(await list(), [], 'not after something was sent')
    await add('b')
    await replace('Failed')
    t.match(await list(), [{ id: 'b', state: 'pending' }])
  })

  t.test('is erased with a finished job', async t => {
    const { add, end, claim, settle, transact, sql, count } = await openCallbacks(t, open)
    await transact(tx => insertJob(tx, queuedJob('k')))
    await add('a')
    await add('b')
    await add('c', { jobId: 'k' })
    await end()
    await claim('h:443', later, 1)
    await transact(tx => deleteJob(tx, 'j'))
    t.equal(await count('JobCallback'), 1, 'those of other jobs stay')
    t.notOk(await settle('a', delivered))
    await sql("UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'k'")
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'k'")
    t.equal(await count('JobCallback'), 0)
  })
}

const tries: Conformance = (t, open) => {
  t.test('a claim holds until its lease ends, for one process', async t => {
    const { add, claim, claimedIds, settle, end, openAnother, list } = await openCallbacks(t, open)
    const other = await openAnother()
    await add('a')
    await end()
    t.match(await claim('h:443', later, 10, 'first'), [{ id: 'a' }])
    const claimElsewhere = (at: number) =>
      other.transact(tx => claimCallbacks(tx, { host: 'h:443', tenant: 'acme' }, at, 10, { token: 'second', endsAt: at + 30 }))
    t.same(await claimElsewhere(later + 29), [])
    t.match(await claimElsewhere(later + 30), [{ id: 'a', tries: 0 }])
    t.notOk(await settle('a', delivered, 'first'))
    t.ok(await settle('a', failing, 'second'))
    t.match(await list(), [{ ...failing, id: 'a' }])
    t.same(await claimedIds('h:443', later - 6), [])
    t.match(await claim('h:443', later - 5), [{ id: 'a', tries: 1, dueAt: later - 5 }])
    t.ok(await settle('a', delivered))
    t.match(await list(), [delivered])
    t.same(await claim('h:443', later * 2), [])
  })

  t.test('those due longest come first, of one queue and as many as are asked for', async t => {
    const { add, end, claimedIds } = await openCallbacks(t, open)
    await end()
    for (const [index, id] of ['c', 'a', 'b'].entries()) await add(id, { isEnded: true, addedAt: 50 + index })
    await add('d', { isEnded: true, addedAt: 1, host: 'i:443' })
    t.same(await claimedIds('h:443', 50), ['c'])
    t.same(await claimedIds('h:443', 60, 1), ['a'])
    t.same(await claimedIds('h:443', 60, 5), ['b'])
    t.same(await claimedIds('i:443', 60, 5), ['d'])
    await add('e', { isEnded: true, addedAt: 2, tenant: 'other' })
    t.same(await claimedIds('h:443', 60, 5), [])
    t.same(await claimedIds('h:443', 60, 5, 'lease', 'other'), ['e'])
  })

  t.test('what is given back is due again, and the try does not count', async t => {
    const { add, end, claim, claimedIds, transact, list } = await openCallbacks(t, open)
    await add('a')
    await end()
    await claim()
    await transact(tx => releaseCallback(tx, 'a', 'another', 5))
    t.same(await claimedIds(), [])
    await transact(tx => releaseCallback(tx, 'a', 'lease', later - 7))
    t.match(await list(), [{ state: 'pending', tries: 0, nextTryAt: later - 7 }])
    t.same(await claimedIds('h:443', later - 7), ['a'])
  })

  t.test('every try has the body of the first', async t => {
    const { add, end, claim, settle, transact, sql } = await openCallbacks(t, open)
    await add('a')
    await end()
    await claim()
    await transact(tx => setCallbackBody(tx, 'a', '{"n":1.0}'))
    await settle('a', failing)
    await sql("UPDATE JobExecutionLog SET type = 'y' WHERE jobId = 'j'")
    t.match(await claim(), [{ body: '{"n":1.0}' }])
  })

  t.test('one more try is due where a client asks for it', async t => {
    const { add, end, claim, settle, transact, list } = await openCallbacks(t, open)
    const redeliver = (id: string, at: number, jobId = 'j') => transact(async tx => {
      const found = await findRedelivered(tx, jobId, id, at)
      if (found !== undefined) await makeDue(tx, id, found, at)
      return found
    })
    await add('a')
    t.match(await redeliver('none', later), undefined)
    t.match(await redeliver('a', later, 'k'), undefined)
    await end()
    await claim()
    await settle('a', delivered)
    t.match(await redeliver('a', later), { tenant: 'acme', state: 'delivered', redeliveredAt: null, isUnderWay: false })
    t.match(await list(), [{ state: 'pending', nextTryAt: later }])
    t.match(await claim(), [{ id: 'a', stateBefore: 'delivered', tries: 1 }])
    t.match(await redeliver('a', later + 10), { state: 'pending', redeliveredAt: later, isUnderWay: true })
    t.same(await claim('h:443', later + 29), [], 'the try under way is the one')
    t.ok(await settle('a', { ...delivered, tries: 2 }))
    t.match(await redeliver('a', later + 40), { state: 'delivered' })
    t.match(await claim('h:443', later + 40), [{ stateBefore: 'delivered' }])
  })
}

const queues: Conformance = (t, open) => {
  t.test('names the queues that have something due, a page at a time', async t => {
    const { add, end, callbacks } = await openCallbacks(t, open)
    await end()
    const at: Array<[host: string, tenant: string, addedAt: number]> = [
      ['b:1', 'acme', 50], ['d:1', 'acme', 90], ['a:1', 'zoo', 50], ['a:1', 'acme', 50], ['c:1', 'acme', 50]
    ]
    for (const [index, [host, tenant, addedAt]] of at.entries()) await add(`c${index}`, { host, tenant, addedAt, isEnded: true })
    await add('again', { jobId: 'k', host: 'a:1', addedAt: 40, isEnded: true })
    const [aAcme, aZoo, b, c, d] = ['a:1 acme', 'a:1 zoo', 'b:1 acme', 'c:1 acme', 'd:1 acme'].map(name => {
      const [host = '', tenant = ''] = name.split(' ')
      return { host, tenant }
    }) as [CallbackQueue, CallbackQueue, CallbackQueue, CallbackQueue, CallbackQueue]
    const first = { host: '', tenant: '' }
    t.same(await callbacks.pendingQueues(60, first, 10), { due: [aAcme, aZoo, b, c], next: null })
    t.same(await callbacks.pendingQueues(60, first, 1), { due: [aAcme], next: aAcme })
    t.same(await callbacks.pendingQueues(60, aAcme, 2), { due: [aZoo, b], next: b })
    t.same(await callbacks.pendingQueues(60, b, 2), { due: [c], next: d })
    t.same(await callbacks.pendingQueues(60, d, 2), { due: [], next: null })
    t.same(await callbacks.pendingQueues(100, c, 2), { due: [d], next: null })
    t.equal(await callbacks.countPending(100), 6)
    t.equal(await callbacks.countPending(3), 3)
  })
}

/** The callbacks of jobs. */
export const callbacksConformance: Conformance = (t, open) => {
  for (const part of [adding, due, tries, queues]) part(t, open)
}
