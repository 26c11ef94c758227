import t from 'tap'
import { type Job, isTerminal } from '../../src/job/job.ts'
import {
  type JobEvent, leaseExpired, jobCancelled, retryDelayMs, timedOut, transition
} from '../../src/job/lifecycle.ts'
import { runningJob } from '../store/jobs.ts'
import { at, cells, delays, events, jobs, rejections, results } from './transitions.ts'

const accept = (job: Job, event: JobEvent) => {
  const next = transition(job, event)
  if (!next.accepted) throw new Error(next.reason)
  return next
}

t.test('each event in each state does what the table says', async t => {
  for (const { from, by, job, event, outcome } of cells) {
    const before = structuredClone(job)
    const next = transition(job, event)
    const name = `${by} of a job that is ${from}`
    if ('rejection' in outcome) {
      t.strictSame(next, { accepted: false, reason: outcome.rejection }, name)
    } else {
      const { retryAfterMs, ...accepted } = { retryAfterMs: undefined, ...next }
      t.strictSame(accepted, { accepted: true, job: results[outcome.result](job) }, name)
      t.equal(retryAfterMs, delays[outcome.result], 'the next attempt')
    }
    t.strictSame(job, before, 'the job that was given is not touched')
  }
  t.equal(cells.length, Object.keys(jobs).length * Object.keys(events).length)
})

t.test('the table names every event and every state', async t => {
  t.same(new Set(Object.values(jobs).map(({ state }) => state)), new Set([
    'queued', 'running', 'succeeded', 'failed', 'cancelled'
  ]))
  t.same(new Set(Object.values(events).map(({ type }) => type)), new Set([
    'claim', 'progress', 'append', 'complete', 'fail', 'rescue', 'release', 'cancel', 'cancel-forced', 'expire'
  ]))
  const outcomes = cells.map(({ outcome }) => 'rejection' in outcome ? outcome.rejection : outcome.result)
  const unused = [...rejections, ...Object.keys(results)].filter(name => !outcomes.some(outcome => outcome === name))
  t.same(unused, [], 'every outcome comes about')
})

t.test('no event leaves a terminal state', async t => {
  for (const { from, by, job, event } of cells.filter(({ job }) => isTerminal(job))) {
    const next = transition(job, event)
    t.equal(next.accepted ? next.job.state : job.state, job.state, `${by} of a job that is ${from}`)
  }
})

t.test('progress without a start has no estimate', async t => {
  t.match(accept(runningJob('j', { startedAt: null }), events.progress).job, {
    progress: { percent: 50, etaSeconds: null }
  })
})

t.test('retries a retryable failure and an expired lease until no attempt is left', async t => {
  const { failure } = events['fail, for good']
  const lastTimes = [{ type: 'fail', at, failure, retryable: true }, { type: 'rescue', at }] as const
  for (const event of lastTimes) {
    const after = (attempt: number, maxAttempts: number) => accept(runningJob('j', { attempt }), {
      ...event, maxAttempts
    })
    t.match(after(1, 3), { job: { state: 'queued', attempt: 1 }, retryAfterMs: 1000 }, event.type)
    t.match(after(2, 3), { job: { state: 'queued', attempt: 2 }, retryAfterMs: 2000 })
    for (const [attempt, maxAttempts] of [[3, 3], [4, 3], [1, 1]] as const) {
      const { job, retryAfterMs } = after(attempt, maxAttempts)
      t.match(job, { state: 'failed', finishedAt: at, failure: event.type === 'fail' ? failure : leaseExpired })
      t.equal(retryAfterMs, undefined)
    }
  }
})

t.test('failures that the service itself reports have stable codes', async t => {
  t.same([leaseExpired, timedOut, jobCancelled].map(({ code }) => code), ['LEASE_EXPIRED', 'TIMEOUT', 'JOB_CANCELLED'])
})

t.test('the delay before the next attempt doubles, up to a minute', async t => {
  t.same([1, 2, 3, 4, 5, 6, 7, 8, 100, 1e9].map(retryDelayMs), [
    1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000
  ])
})
