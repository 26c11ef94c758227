import fc from 'fast-check'
import type { Test } from 'tap'
import type { Job } from '../../src/job/job.ts'
import type { StuckBy } from '../../src/store/store.ts'
import { findJob, insertJob, updateJob } from '../../src/store/tx/jobs.ts'
import { appendInputChunk, findInput, insertInput } from '../../src/store/tx/inputs.ts'
import { clearLease, dequeue, enqueue, extendLease, findStuck, findQueueItem, nextAvailable, setCancelDue, setLease, setQueueTenant, setContentInfo } from '../../src/store/tx/queue.ts'
import { insertResult } from '../../src/store/tx/results.ts'
import { changesConformance } from './conformance/changes.ts'
import { type OpenStoreUnderTest, input, item, lease, withoutVersion } from './conformance/store-under-test.ts'
import { anyJob, failedJob, inEachState, jobOf, queuedJob, runningJob, succeededJob } from './jobs.ts'

const noFacts = { contentType: 'text/csv', fileName: 'r.csv', sizeBytes: 0, sha256: '47DEQpj8', inlineJson: null }

const findConformance = (t: Test, open: OpenStoreUnderTest) => {
  t.test('finds a job in every state, as it was saved', async t => {
    const { store, store: { transact } } = await open(t)
    for (const [number, make] of inEachState.entries()) {
      const job = make(`job-${number}`)
      await transact(tx => insertJob(tx, job))
      t.same(withoutVersion(jobOf(await store.jobs.find(job.jobId))), job, job.state)
    }
  })

  t.test('finds absent ids, tombstones and broken rows for what they are', async t => {
    const { store, store: { transact }, sql, sqlUnchecked } = await open(t)
    t.same(await store.jobs.find('nobody'), { kind: 'absent', jobId: 'nobody' })
    t.same(await store.jobs.find(''), { kind: 'absent', jobId: '' })

    await transact(tx => insertJob(tx, failedJob('gone')))
    const { version } = jobOf(await store.jobs.find('gone'))
    const before = Date.now()
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'gone'")
    const dead = await store.jobs.find('gone')
    t.match(dead, { kind: 'tombstone', tombstone: { jobId: 'gone', tenant: 'acme', version: version + 1 } })
    t.ok(dead.kind === 'tombstone' && dead.tombstone.expiredAt >= before - 1 && dead.tombstone.expiredAt <= Date.now(), 'now')

    await sqlUnchecked("INSERT INTO JobExecutionLog (jobId, tenant, status) VALUES ('odd', 'acme', 'Paused')")
    t.same(await store.jobs.find('odd'), { kind: 'invalid', jobId: 'odd', tenant: 'acme', version: version + 2 })
  })

  t.test('a transaction sees its own changes, a reader only committed ones', async t => {
    const { store, store: { transact }, sql } = await open(t)
    await sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('old', 'Running'); DELETE FROM JobExecutionLog")
    await transact(async tx => {
      await insertJob(tx, queuedJob('new'))
      t.equal(jobOf(await findJob(tx, 'new')).state, 'queued')
      t.equal((await findJob(tx, 'old')).kind, 'tombstone')
      t.equal((await findJob(tx, 'never')).kind, 'absent')
      t.equal((await store.jobs.find('new')).kind, 'absent')
    })
    t.equal((await store.jobs.find('new')).kind, 'job')
  })

  t.test('whatever job is saved, the same is found', async t => {
    const { store, store: { transact } } = await open(t)
    await fc.assert(fc.asyncProperty(anyJob, async job => {
      await transact(tx => insertJob(tx, job))
      t.strictSame(withoutVersion(jobOf(await store.jobs.find(job.jobId))), job)
    }), { numRuns: 300 })
  })
}

const writeConformance = (t: Test, open: OpenStoreUnderTest) => {
  t.test('an update is written only over the version it was made from', async t => {
    const { store, store: { transact } } = await open(t)
    await transact(tx => insertJob(tx, queuedJob('j')))
    const { version } = jobOf(await store.jobs.find('j'))
    t.equal(await transact(tx => updateJob(tx, runningJob('j', { version }))), true)
    const running = await store.jobs.find('j')
    t.equal(await transact(tx => updateJob(tx, succeededJob('j', { version }))), false, 'the version moved')
    t.equal(await transact(tx => updateJob(tx, succeededJob('j', { version: version + 99 }))), false)
    t.equal(await transact(tx => updateJob(tx, succeededJob('absent', { version }))), false)
    t.same(await store.jobs.find('j'), running)
    t.same(withoutVersion(jobOf(running)), runningJob('j'), 'every column of the new state')
  })

  t.test('the facts of a result come with the job', async t => {
    const { store, store: { transact } } = await open(t)
    await transact(async tx => {
      await insertJob(tx, succeededJob('j'))
      await insertResult(tx, 'j', { ...noFacts, inlineJson: '{"a":1}' })
    })
    t.match(await store.jobs.find('j'), { job: { result: { ...noFacts, inlineJson: '{"a":1}' } } })
  })

  t.test('a job id is taken once', async t => {
    const { store: { transact } } = await open(t)
    await transact(tx => insertJob(tx, queuedJob('j')))
    await t.rejects(transact(tx => insertJob(tx, queuedJob('j'))))
  })

  t.test('a transaction that throws leaves nothing', async t => {
    const { store, store: { transact }, logged } = await open(t)
    await transact(tx => insertJob(tx, queuedJob('j')))
    const before = [await store.jobs.find('j'), await logged()]
    await t.rejects(transact(async tx => {
      await updateJob(tx, runningJob('j', { version: 1 }))
      await insertJob(tx, queuedJob('k'))
      await enqueue(tx, item('k'))
      throw new Error('too late')
    }), { message: 'too late' })
    t.same([await store.jobs.find('j'), await logged()], before)
    t.equal((await store.jobs.find('k')).kind, 'absent')
    t.equal(await transact(tx => findQueueItem(tx, 'k')), undefined)
  })
}

const queueConformance = (t: Test, open: OpenStoreUnderTest) => {
  t.test('the queue gives the job that waited longest, of these types, held by nobody', async t => {
    const { store: { transact } } = await open(t)
    const next = (types: string[], now: number) =>
      transact(async tx => (await nextAvailable(tx, { types, tenant: null }, now))?.jobId)
    await transact(async tx => {
      await enqueue(tx, item('late', 300))
      await enqueue(tx, item('first', 100))
      await enqueue(tx, item('second', 100))
      await enqueue(tx, { ...item('other', 50), type: 'sanitize' })
    })
    t.equal(await next(['report'], 99), undefined)
    t.equal(await next(['report'], 100), 'first')
    t.equal(await next(['report', 'sanitize'], 100), 'other')
    t.equal(await next(['sanitize', 'report'], 100), 'other', 'in whatever order the types are named')
    t.equal(await next(['nothing'], 1000), undefined)
    t.equal(await next([], 1000), undefined)
    await transact(tx => setLease(tx, 'first', lease('a')))
    t.equal(await next(['report'], 100), 'second')
    await transact(tx => clearLease(tx, 'first', 250))
    await transact(tx => dequeue(tx, 'second'))
    t.equal(await next(['report'], 249), undefined)
    t.equal(await next(['report'], 1000), 'first')
  })

  t.test('of jobs that wait as long, the one that was queued first comes first, whatever its type', async t => {
    const { store: { transact } } = await open(t)
    await transact(async tx => {
      await enqueue(tx, { ...item('one'), type: 'sanitize' })
      await enqueue(tx, item('two'))
    })
    for (const types of [['report', 'sanitize'], ['sanitize', 'report']]) {
      t.equal((await transact(tx => nextAvailable(tx, { types, tenant: null }, 0)))?.jobId, 'one')
    }
  })

  t.test('a tenant reaches its own jobs alone', async t => {
    const { store: { transact } } = await open(t)
    const next = (tenant: string | null) =>
      transact(async tx => (await nextAvailable(tx, { types: ['report'], tenant }, 1000))?.jobId)
    await transact(async tx => {
      await enqueue(tx, { ...item('theirs', 1), tenant: 'other' })
      await enqueue(tx, item('ours', 2))
    })
    t.same([await next('acme'), await next('other'), await next('third'), await next(null)], ['ours', 'theirs', undefined, 'theirs'])
    await transact(tx => setQueueTenant(tx, 'theirs', 'acme'))
    t.same([await next('acme'), await next('other')], ['theirs', undefined])
    await transact(tx => setQueueTenant(tx, 'theirs', null))
    t.same([await next('acme'), await next(null)], ['ours', 'theirs'], 'what belongs to nobody is for those who reach all')
  })

  t.test('abandoned jobs are found by the end of their lease, of their time or of their grace, or by their holder', async t => {
    const { store: { transact } } = await open(t)
    await transact(async tx => {
      for (const [jobId, leaseHolder, leaseExpiresAt, deadlineAt] of [['a', 'w1', 300, 50], ['b', 'w2', 100, 40], ['c', 'w1', 200, null]] as const) {
        await enqueue(tx, item(jobId))
        await setLease(tx, jobId, lease(jobId, { leaseHolder, leaseExpiresAt, deadlineAt }))
      }
      await enqueue(tx, item('free'))
      await setCancelDue(tx, 'c', 70)
      await setCancelDue(tx, 'c', 90)
    })
    const find = (by: StuckBy, limit = 10) =>
      transact(async tx => (await findStuck(tx, by, limit)).map(({ jobId }) => jobId))
    t.same(await find({ leaseExpiredAt: 99 }), [])
    t.same(await find({ leaseExpiredAt: 200 }), ['b', 'c'])
    t.same(await find({ leaseExpiredAt: 1000 }, 1), ['b'])
    t.same((await find({ holder: 'w1' })).toSorted(), ['a', 'c'])
    t.same(await find({ deadlineAt: 39 }), [])
    t.same(await find({ deadlineAt: 49 }), ['b'])
    t.same((await find({ deadlineAt: 1000 })).toSorted(), ['a', 'b'])
    t.same(await find({ cancelDueAt: 69 }), [])
    t.same(await find({ cancelDueAt: 70 }), ['c'], 'the first time that was set stands')
  })

  t.test('nothing of a run is left in the queue when it is over', async t => {
    const { store: { transact } } = await open(t)
    await transact(async tx => {
      await enqueue(tx, item('j'))
      await setLease(tx, 'j', lease('a', { deadlineAt: 5 }))
      await setCancelDue(tx, 'j', 7)
      await setContentInfo(tx, 'j', { contentType: 'text/csv', fileName: 'r.csv' })
    })
    t.match(await transact(tx => findQueueItem(tx, 'j')), {
      leaseToken: 'a', leaseMs: 30, deadlineAt: 5, cancelDueAt: 7, resultContentType: 'text/csv', resultFileName: 'r.csv'
    })
    await transact(tx => clearLease(tx, 'j', 9))
    t.same(await transact(tx => findQueueItem(tx, 'j')), {
      ...item('j', 9),
      ...Object.fromEntries([
        'leaseToken', 'leaseHolder', 'leaseMs', 'leaseExpiresAt', 'deadlineAt', 'cancelDueAt', 'resultContentType', 'resultFileName'
      ].map(name => [name, null]))
    })
  })

  t.test('the input is kept with the queue item and leaves with it', async t => {
    const { store: { transact } } = await open(t)
    const raw = { inputId: 'i', sizeBytes: 3, contentType: 'text/plain' }
    await transact(async tx => {
      await enqueue(tx, { ...item('j'), timeoutMs: 5, resultRetentionMs: 6 })
      await insertInput(tx, 'j', input)
      await enqueue(tx, item('k'))
      await appendInputChunk(tx, raw.inputId, 0, Buffer.from('abc'), 0)
      await insertInput(tx, 'k', { ...input, raw })
    })
    t.same(await transact(tx => findInput(tx, 'j')), input)
    t.same(await transact(tx => findInput(tx, 'k')), { ...input, raw })
    t.match(await transact(tx => findQueueItem(tx, 'j')), { ...item('j'), timeoutMs: 5, resultRetentionMs: 6, leaseToken: null })
    await transact(tx => dequeue(tx, 'j'))
    t.equal(await transact(tx => findInput(tx, 'j')), undefined)
    t.equal(await transact(tx => findQueueItem(tx, 'j')), undefined)
    t.ok(await transact(tx => findInput(tx, 'k')))
  })
}

const versionConformance = (t: Test, open: OpenStoreUnderTest) => {
  t.test('every visible change of any job draws the next number of one sequence', async t => {
    const { store, store: { transact }, logged, sql } = await open(t)
    t.same(await logged(), [])
    const seen: number[] = []
    const note = async (jobId: string) => {
      const lookup = await store.jobs.find(jobId)
      seen.push(lookup.kind === 'job' ? lookup.job.version : lookup.kind === 'tombstone' ? lookup.tombstone.version : NaN)
    }
    const update = (job: Job) => transact(tx => updateJob(tx, { ...job, version: seen.at(-1) ?? 0 }))
    await transact(tx => insertJob(tx, queuedJob('a')))
    await note('a')
    await update(runningJob('a'))
    await note('a')
    await transact(tx => insertJob(tx, queuedJob('b')))
    await note('b')
    await update(runningJob('b'))
    await note('b')
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'a'")
    await note('a')
    await sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Running')")
    await note('a')
    t.same(seen, [1, 2, 3, 4, 5, 6])
    t.same(await logged(), seen.map((version, at) => ({ version, jobId: 'aabbaa'[at] })))
  })

  t.test('what no reader sees draws no version', async t => {
    const { store: { transact }, logged } = await open(t)
    await transact(async tx => {
      await insertJob(tx, runningJob('j'))
      await enqueue(tx, item('j'))
      await insertInput(tx, 'j', input)
    })
    await transact(tx => setLease(tx, 'j', lease('a', { leaseExpiresAt: 1 })))
    await transact(tx => extendLease(tx, 'j', 2))
    t.equal((await transact(tx => findQueueItem(tx, 'j')))?.leaseExpiresAt, 2)
    await transact(tx => setCancelDue(tx, 'j', 3))
    await transact(tx => setContentInfo(tx, 'j', { contentType: 'text/csv', fileName: 'r.csv' }))
    await transact(tx => setQueueTenant(tx, 'j', 'other'))
    await transact(tx => clearLease(tx, 'j', 3))
    await transact(tx => updateJob(tx, runningJob('j', { version: 1 })))
    t.equal((await logged()).length, 1, 'nor does an update to the very same')
  })
}

/** What every system of record promises, whatever database it stands on. */
export const storeConformance = (t: Test, open: OpenStoreUnderTest): void => {
  for (const part of [findConformance, writeConformance, queueConformance, versionConformance, changesConformance]) part(t, open)
}
