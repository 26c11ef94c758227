import type { Test } from 'tap'
import type { AttemptEnd } from '../../../src/job/attempt.ts'
import { endAttempt, findEndReport, findRun, insertAttempt } from '../../../src/store/tx/runs/attempts.ts'
import { deleteJob, insertJob } from '../../../src/store/tx/jobs.ts'
import { queuedJob, runningJob } from '../jobs.ts'
import type { Conformance, OpenStoreUnderTest } from './store-under-test.ts'

const released: AttemptEnd = { outcome: 'released', failure: null }
const failed: AttemptEnd = { outcome: 'failed', failure: { code: 'E', message: 'm' } }

/** A store with a job `j`. */
const openAttempts = async (t: Test, open: OpenStoreUnderTest) => {
  const opened = await open(t)
  const { transact, jobs, results } = opened.store
  await transact(tx => insertJob(tx, runningJob('j')))
  return {
    ...opened,
    transact,
    results,
    begin: (attempt: number, startedAt: number, jobId = 'j') =>
      transact(async tx => {
        const start = { jobId, attempt, startedAt, leaseHash: `lease-${startedAt}` }
        await insertAttempt(tx, start, await findRun(tx, jobId, 0))
      }),
    end: (end: AttemptEnd, endedAt: number, endReport: string | null = null) =>
      transact(tx => endAttempt(tx, 'j', end, endReport, endedAt)),
    attempts: async (jobId = 'j') => (await jobs.findWithAttempts(jobId)).attempts
  }
}

/** The runs of a job. */
export const attemptsConformance: Conformance = (t, open) => {
  t.test('keeps the runs of a job in their order, with how each ended', async t => {
    const { begin, end, attempts, store } = await openAttempts(t, open)
    t.same(await attempts(), [])
    await begin(1, 10)
    t.same(await attempts(), [{ attempt: 1, startedAt: 10, endedAt: null, outcome: null, failure: null }])
    await end(released, 20)
    await begin(1, 30)
    await end(failed, 40)
    await end(released, 50)
    await begin(2, 60)
    t.strictSame(await attempts(), [
      { attempt: 1, startedAt: 10, endedAt: 20, ...released },
      { attempt: 1, startedAt: 30, endedAt: 40, ...failed },
      { attempt: 2, startedAt: 60, endedAt: null, outcome: null, failure: null }
    ])
    t.match(await store.jobs.findWithAttempts('j'), { lookup: { kind: 'job', job: { jobId: 'j' } } })
    t.match(await store.jobs.findWithAttempts('never-made'), { lookup: { kind: 'absent' }, attempts: [] })
  })

  t.test('a run that was left open ends when the next one begins', async t => {
    const { begin, attempts } = await openAttempts(t, open)
    await begin(1, 10)
    await begin(2, 20)
    t.match(await attempts(), [{ outcome: 'lease-lost', endedAt: 20 }, { outcome: null }])
  })

  t.test('keeps the last 50', async t => {
    const { begin, attempts } = await openAttempts(t, open)
    for (let attempt = 1; attempt <= 53; attempt++) await begin(attempt, attempt)
    const kept = (await attempts()).map(({ attempt }) => attempt)
    t.same(kept, Array.from({ length: 50 }, (_, index) => index + 4))
  })

  t.test('numbers the runs, also where attempts have the same number', async t => {
    const { begin, end, transact, results, sql } = await openAttempts(t, open)
    const run = (attempt: number) => transact(tx => findRun(tx, 'j', attempt))
    t.equal(await run(0), 0)
    await begin(1, 10)
    t.equal(await run(1), 1)
    await end(released, 20)
    await begin(1, 30)
    t.equal(await run(1), 2)
    t.equal(await results.findRun('j'), 2)
    await sql("UPDATE JobExecutionLog SET attempt = 7 WHERE jobId = 'j'")
    t.equal(await run(7), 7, 'a release that writes no runs has begun some')
    t.equal(await results.findRun('j'), 7)
    await begin(8, 40)
    t.equal(await run(8), 8)
    t.equal(await results.findRun('never-made'), 0)
  })

  t.test('knows by which report the run of a lease ended', async t => {
    const { begin, end, transact } = await openAttempts(t, open)
    const endReport = (lease: string, jobId = 'j') => transact(tx => findEndReport(tx, jobId, lease))
    await begin(1, 10)
    t.equal(await endReport('lease-10'), null)
    await end(failed, 20, 'report')
    await begin(2, 30)
    await end(released, 40)
    t.equal(await endReport('lease-10'), 'report')
    t.equal(await endReport('lease-30'), null)
    t.equal(await endReport('lease-99'), undefined)
    t.equal(await endReport('lease-10', 'k'), undefined)
  })

  t.test('erases them with the job, and where another program replaces it', async t => {
    const { begin, attempts, transact, sql, replacing } = await openAttempts(t, open)
    const replace = () => sql(replacing({ jobId: 'j', status: 'Running' }))
    await transact(tx => insertJob(tx, queuedJob('k')))
    await begin(1, 10, 'k')
    for (const erase of [
      () => transact(tx => deleteJob(tx, 'j')), () => sql("DELETE FROM JobExecutionLog WHERE jobId = 'j'"),
      replace
    ]) {
      await begin(1, 10)
      await erase()
      t.same(await attempts(), [])
      await replace()
    }
    t.equal((await attempts('k')).length, 1, 'those of other jobs stay')
  })
}
