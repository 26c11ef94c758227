import fc from 'fast-check'
import t from 'tap'
import { pollAfterMs, retryAfterSeconds } from '../../src/job/pacing.ts'
import { failedJob, queuedJob, runningJob, succeededJob } from '../store/jobs.ts'

const running = (etaSeconds: number | null) => {
  const job = runningJob('j')
  return { ...job, progress: { ...job.progress, etaSeconds } }
}

t.test('says when to poll again while a job is not finished', async t => {
  t.equal(pollAfterMs(queuedJob('j')), 1000)
  t.equal(pollAfterMs(running(null)), 1000, 'without an estimate')
  t.equal(pollAfterMs(running(0)), 1000)
  t.equal(pollAfterMs(running(4)), 1000)
  t.equal(pollAfterMs(running(20)), 5000, 'a quarter of what is left')
  t.equal(pollAfterMs(running(40)), 10_000)
  t.equal(pollAfterMs(running(86_400)), 10_000, 'but no longer than that')
})

t.test('asks for no further poll once a job has ended', async t => {
  t.equal(pollAfterMs(succeededJob('j')), null)
  t.equal(pollAfterMs(failedJob('j')), null)
})

t.test('the wait is a second at least, ten at most, and grows with the estimate', async t => {
  fc.assert(fc.property(fc.nat(), fc.nat(), (a, b) => {
    const [less, more] = [Math.min(a, b), Math.max(a, b)].map(eta => pollAfterMs(running(eta)) ?? NaN) as [
      number, number
    ]
    return less >= 1000 && less <= more && more <= 10_000
  }))
  t.pass()
})

t.test('Retry-After is whole seconds, never less than the wait, never 0', async t => {
  for (const [ms, seconds] of [[0, 1], [1, 1], [999, 1], [1000, 1], [1001, 2], [2500, 3], [10_000, 10]] as const) {
    t.equal(retryAfterSeconds(ms), seconds, `${ms} ms`)
  }
})
