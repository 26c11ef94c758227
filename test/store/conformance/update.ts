import type { Job } from '../../../src/job/job.ts'
import { insertJob, updateJob } from '../../../src/store/tx/jobs.ts'
import { insertInput } from '../../../src/store/tx/inputs.ts'
import {
  clearLease, enqueue, setLeaseEnd, findQueueItem, setCancelDue, setContentInfo, setLease, setQueueTenant
} from '../../../src/store/tx/runs/queue.ts'
import { jobOf, queuedJob, runningJob, succeededJob } from '../jobs.ts'
import { type Conformance, input, item, lease, versionOf, withoutVersion } from './store-under-test.ts'

/** Writes of records, and the versions that they draw. */
export const updateConformance: Conformance = (t, open) => {
  t.test('writes an update only over the version that it was made from', async t => {
    const { store, store: { transact } } = await open(t)
    await transact(tx => insertJob(tx, queuedJob('j')))
    const { version } = jobOf(await store.jobs.find('j'))
    const written = await transact(tx => updateJob(tx, runningJob('j', { version })))
    const running = await store.jobs.find('j')
    t.same(written, running)
    t.equal(await transact(tx => updateJob(tx, succeededJob('j', { version }))), undefined, 'the version moved')
    t.equal(await transact(tx => updateJob(tx, succeededJob('j', { version: version + 99 }))), undefined)
    t.equal(await transact(tx => updateJob(tx, succeededJob('absent', { version }))), undefined)
    t.same(await store.jobs.find('j'), running)
    t.same(withoutVersion(jobOf(running)), runningJob('j'), 'every column of the new state')
  })

  t.test('rejects a job id that is taken', async t => {
    const { store: { transact } } = await open(t)
    await transact(tx => insertJob(tx, queuedJob('j')))
    await t.rejects(transact(tx => insertJob(tx, queuedJob('j'))))
  })

  t.test('undoes a transaction that throws', async t => {
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

  t.test('draws the next version of one sequence for every visible change of any job', async t => {
    const { store, store: { transact }, logged, sql } = await open(t)
    t.same(await logged(), [])
    const seen: number[] = []
    const note = async (jobId: string) => { seen.push(versionOf(await store.jobs.find(jobId))) }
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
    t.same(seen, seen.toSorted((a, b) => a - b))
    t.equal(new Set(seen).size, 6)
    t.same(await logged(), seen.map((version, at) => ({ version, jobId: 'aabbaa'[at] })))
  })

  t.test('draws no version for what no reader sees', async t => {
    const { store: { transact }, logged } = await open(t)
    await transact(async tx => {
      await insertJob(tx, runningJob('j'))
      await enqueue(tx, item('j'))
      await insertInput(tx, 'j', input)
    })
    await transact(tx => setLease(tx, 'j', lease('a', { leaseExpiresAt: 1 })))
    await transact(tx => setLeaseEnd(tx, 'j', 2))
    t.equal((await transact(tx => findQueueItem(tx, 'j')))?.leaseExpiresAt, 2)
    await transact(tx => setCancelDue(tx, 'j', 3))
    await transact(tx => setContentInfo(tx, 'j', { contentType: 'text/csv', fileName: 'r.csv' }))
    await transact(tx => setQueueTenant(tx, 'j', 'other'))
    await transact(tx => clearLease(tx, 'j', 3))
    await transact(tx => updateJob(tx, runningJob('j', { version: 1 })))
    t.equal((await logged()).length, 1, 'nor does an update to the very same')
  })
}
