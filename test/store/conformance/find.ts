import fc from 'fast-check'
import { findJob, insertJob } from '../../../src/store/tx/jobs.ts'
import { insertResult } from '../../../src/store/tx/results.ts'
import { anyJob, failedJob, inEachState, jobOf, queuedJob, succeededJob } from '../jobs.ts'
import { type Conformance, noFacts, withoutVersion } from './store-under-test.ts'

/** Reads of one record. */
export const findConformance: Conformance = (t, open) => {
  t.test('finds a job in every state as it was saved', async t => {
    const { store, store: { transact } } = await open(t)
    for (const [number, make] of inEachState.entries()) {
      const job = make(`job-${number}`)
      await transact(tx => insertJob(tx, job))
      t.same(withoutVersion(jobOf(await store.jobs.find(job.jobId))), job, job.state)
    }
  })

  t.test('tells absent ids, tombstones and invalid rows apart', async t => {
    const { store, store: { transact }, sql, sqlUnchecked } = await open(t)
    t.same(await store.jobs.find('never-made'), { kind: 'absent', jobId: 'never-made' })
    t.same(await store.jobs.find(''), { kind: 'absent', jobId: '' })

    await transact(tx => insertJob(tx, failedJob('gone')))
    const { version } = jobOf(await store.jobs.find('gone'))
    const before = Date.now()
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'gone'")
    const dead = await store.jobs.find('gone')
    t.match(dead, { kind: 'tombstone', tombstone: { jobId: 'gone', tenant: 'acme', version: version + 1 } })
    t.ok(dead.kind === 'tombstone' && dead.tombstone.expiredAt >= before - 1 &&
      dead.tombstone.expiredAt <= Date.now(), 'now')

    await sqlUnchecked("INSERT INTO JobExecutionLog (jobId, tenant, status) VALUES ('odd', 'acme', 'Paused')")
    t.same(await store.jobs.find('odd'), { kind: 'invalid', jobId: 'odd', tenant: 'acme', version: version + 2 })
  })

  t.test('finds the versions of the records among many ids', async t => {
    const { store, sql } = await open(t)
    await sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Queued'), ('gone', 'Queued')")
    await sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'a'")
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'gone'")
    const versions = await store.jobs.findVersions(['never-made', 'b', 'a', 'gone', '', 'a'])
    t.same(versions, new Map([['a', jobOf(await store.jobs.find('a')).version], ['b', 2]]))
    t.same(await store.jobs.findVersions([]), new Map())
  })

  t.test('a transaction reads its own changes, and a reader only committed ones', async t => {
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

  t.test('finds any job as it was saved', async t => {
    const { store, store: { transact } } = await open(t)
    await fc.assert(fc.asyncProperty(anyJob, async job => {
      await transact(tx => insertJob(tx, job))
      t.strictSame(withoutVersion(jobOf(await store.jobs.find(job.jobId))), job)
    }), { numRuns: 300 })
  })

  t.test('finds a job with the facts of its result', async t => {
    const { store, store: { transact } } = await open(t)
    await transact(async tx => {
      await insertJob(tx, succeededJob('j'))
      await insertResult(tx, 'j', { ...noFacts, inlineJson: '{"a":1}' })
    })
    t.match(await store.jobs.find('j'), { job: { result: { ...noFacts, inlineJson: '{"a":1}' } } })
  })
}
