import t from 'tap'
import { type Job, type JobState, toRecordStatus } from '../../src/job/job.ts'
import { type JobEvent, type JobEventType, leaseExpired, retryDelayMs, transition } from '../../src/job/lifecycle.ts'
import { noProgress } from '../../src/job/progress.ts'
import { failedJob, queuedJob, runningJob, succeededJob } from '../store/jobs.ts'
import { openForeign, openStore } from '../store/open.ts'

const at = Date.UTC(2026, 0, 31, 12, 0, 11)
const failure = { code: 'E_INPUT', message: 'no such table' }

const jobs: Record<JobState, Job> = {
  queued: queuedJob('j'), running: runningJob('j'), succeeded: succeededJob('j'), failed: failedJob('j')
}

const events: Record<JobEventType, JobEvent> = {
  claim: { type: 'claim', at },
  progress: { type: 'progress', at, update: { percent: 50 } },
  complete: { type: 'complete', at, resultUrl: '/r', result: null },
  fail: { type: 'fail', at, failure, retryable: true, maxAttempts: 3 },
  rescue: { type: 'rescue', at, maxAttempts: 3 },
  release: { type: 'release' }
}

// The whole table: the state after the event, or why it cannot happen.
const table: Record<JobState, Record<JobEventType, string>> = {
  queued: { claim: 'running', progress: 'not-running', complete: 'not-running', fail: 'not-running', rescue: 'not-running', release: 'not-running' },
  running: { claim: 'not-queued', progress: 'running', complete: 'succeeded', fail: 'queued', rescue: 'queued', release: 'queued' },
  succeeded: { claim: 'not-queued', progress: 'not-running', complete: 'not-running', fail: 'not-running', rescue: 'not-running', release: 'not-running' },
  failed: { claim: 'not-queued', progress: 'not-running', complete: 'not-running', fail: 'not-running', rescue: 'not-running', release: 'not-running' }
}

const outcomeOf = (job: Job, event: JobEvent): string => {
  const next = transition(job, event)
  return next.accepted ? next.job.state : next.reason
}

const accept = (job: Job, event: JobEvent) => {
  const next = transition(job, event)
  if (!next.accepted) throw new Error(next.reason)
  return next
}

t.test('every event in every state', async t => {
  for (const [state, row] of Object.entries(table) as Array<[JobState, Record<JobEventType, string>]>) {
    for (const [type, outcome] of Object.entries(row) as Array<[JobEventType, string]>) {
      const before = structuredClone(jobs[state])
      t.equal(outcomeOf(jobs[state], events[type]), outcome, `${type} of a ${state} job`)
      t.same(jobs[state], before, 'the job that was given is not touched')
    }
  }
})

t.test('the database allows every change that the table allows, and none out of a terminal state', async t => {
  const { path } = await openStore(t)
  const foreign = openForeign(t, path)
  const states = Object.keys(table) as JobState[]
  for (const from of states) {
    const reachable = new Set<string>(Object.values(table[from]))
    for (const to of states) {
      foreign.exec(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${toRecordStatus(from)}')`)
      const change = () => { foreign.exec(`UPDATE JobExecutionLog SET status = '${toRecordStatus(to)}'`) }
      const isTerminal = from === 'succeeded' || from === 'failed'
      if (isTerminal && from !== to) t.throws(change, { code: 'SQLITE_CONSTRAINT_TRIGGER' }, `${from} to ${to}`)
      else t.doesNotThrow(change, `${from} to ${to}`)
      t.notOk(isTerminal && reachable.has(to), 'the table agrees')
    }
  }
})

t.test('a claim begins a new attempt', async t => {
  const { progress } = runningJob('j')
  const waiting = queuedJob('j', { attempt: 1, startedAt: at - 5000, progress })
  t.same(accept(waiting, events.claim), { accepted: true, job: { ...waiting, state: 'running', attempt: 2, startedAt: at, progress: noProgress } })
})

t.test('progress is reckoned from the start of the attempt', async t => {
  t.match(accept(runningJob('j'), events.progress).job, { progress: { percent: 50, etaSeconds: 10, stage: 'reading' } })
  t.match(accept(runningJob('j', { startedAt: null }), events.progress).job, { progress: { percent: 50, etaSeconds: null } })
})

t.test('completion makes a job whole', async t => {
  const facts = { contentType: 'text/csv', fileName: 'r.csv', sizeBytes: 3, sha256: 'x', inlineJson: null }
  const { job, retryAfterMs } = accept(runningJob('j'), { type: 'complete', at, resultUrl: '/r', result: facts, message: '3 rows' })
  t.match(job, { state: 'succeeded', finishedAt: at, resultUrl: '/r', result: facts, attempt: 1 })
  t.match(job.progress, { percent: 100, message: '3 rows', done: 4, total: 10, etaSeconds: null })
  t.equal(retryAfterMs, undefined)
  t.equal(accept(runningJob('j'), events.complete).job.progress.message, 'row 4', 'the last message stays')
})

t.test('a retryable failure and a lost lease are tried again, until no attempt is left', async t => {
  const lastTimes = [{ type: 'fail', at, failure, retryable: true }, { type: 'rescue', at }] as const
  for (const event of lastTimes) {
    const after = (attempt: number, maxAttempts: number) => accept(runningJob('j', { attempt }), { ...event, maxAttempts })
    t.match(after(1, 3), { job: { state: 'queued', attempt: 1 }, retryAfterMs: 1000 }, event.type)
    t.match(after(2, 3), { job: { state: 'queued', attempt: 2 }, retryAfterMs: 2000 })
    for (const [attempt, maxAttempts] of [[3, 3], [4, 3], [1, 1]] as const) {
      const { job, retryAfterMs } = after(attempt, maxAttempts)
      t.match(job, { state: 'failed', finishedAt: at, failure: event.type === 'fail' ? failure : leaseExpired, progress: { percent: 40, etaSeconds: null } })
      t.equal(retryAfterMs, undefined)
    }
  }
  t.equal(leaseExpired.code, 'LEASE_EXPIRED')
})

t.test('a failure that is not retryable ends the job in its first attempt', async t => {
  t.match(accept(runningJob('j'), { type: 'fail', at, failure, retryable: false, maxAttempts: 3 }).job, { state: 'failed', failure, finishedAt: at })
})

t.test('a job given back is to be had at once', async t => {
  const { job, retryAfterMs } = accept(runningJob('j', { attempt: 3 }), events.release)
  t.match(job, { state: 'queued', attempt: 3, startedAt: runningJob('j').startedAt })
  t.equal(retryAfterMs, undefined)
})

t.test('the delay before the next attempt doubles, up to a minute', async t => {
  t.same([1, 2, 3, 4, 5, 6, 7, 8, 100, 1e9].map(retryDelayMs), [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000])
})
