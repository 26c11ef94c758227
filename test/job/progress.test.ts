import fc from 'fast-check'
import t from 'tap'
import type { Progress } from '../../src/job/job.ts'
import { advanceProgress, noProgress, type ProgressUpdate } from '../../src/job/progress.ts'

const advance = (current: Partial<Progress>, update: ProgressUpdate, elapsedMs = 0) =>
  advanceProgress({ ...noProgress, ...current }, update, elapsedMs)

t.test('takes percent as reported, or computes it from done and total', async t => {
  t.equal(advance({}, { percent: 42 }).percent, 42)
  t.equal(advance({}, { percent: 42.9 }).percent, 42, 'whole')
  t.equal(advance({}, { done: 1, total: 3 }).percent, 33)
  t.equal(advance({}, { done: 29, total: 50 }).percent, 58, 'not 57, as 29 / 50 * 100 would be')
  t.equal(advance({ total: 8 }, { done: 2 }).percent, 25, 'the total is remembered')
  t.equal(advance({}, { done: 5 }).percent, 0, 'done alone says nothing')
  t.equal(advance({}, { done: 0, total: 0 }).percent, 0)
  t.equal(advance({}, { done: 3, total: 0 }).percent, 0)
  t.equal(advance({}, { percent: 10, done: 9, total: 10 }).percent, 10, 'the reported value counts')
})

t.test('percent never falls, and only completion makes it 100', async t => {
  t.equal(advance({ percent: 50 }, { percent: 20 }).percent, 50)
  t.equal(advance({ percent: 50 }, { percent: -1 }).percent, 50)
  t.equal(advance({ percent: 50 }, {}).percent, 50)
  t.equal(advance({ percent: 50 }, { done: 1, total: 10 }).percent, 50, 'a total that grew')
  t.equal(advance({}, { percent: 100 }).percent, 99)
  t.equal(advance({}, { percent: 1e9 }).percent, 99)
  t.equal(advance({}, { done: 20, total: 10 }).percent, 99)
})

t.test('keeps what an update does not mention', async t => {
  const current = { percent: 10, done: 1, total: 10, stage: 'reading', message: 'row 1', etaSeconds: null }
  t.same(advanceProgress(current, {}, 0), current)
  t.same(advanceProgress(current, { stage: 'writing' }, 0), { ...current, stage: 'writing' })
  t.same(advanceProgress(current, { message: '' }, 0), { ...current, message: '' })
  t.same(advanceProgress(current, { done: 5 }, 0), { ...current, done: 5, percent: 50 })
})

t.test('estimates the time left from the pace so far, once there is enough of it', async t => {
  t.equal(advance({}, { percent: 50 }, 10_000).etaSeconds, 10)
  t.equal(advance({}, { percent: 25 }, 10_000).etaSeconds, 30)
  t.equal(advance({}, { percent: 99 }, 10_000).etaSeconds, 1, 'never 0 before the end')
  t.equal(advance({ percent: 50 }, { percent: 10 }, 10_000).etaSeconds, 10, 'from the percent that is shown')
  t.equal(advance({}, { percent: 50 }, 999).etaSeconds, null, 'too early')
  t.equal(advance({}, { percent: 50 }, -5000).etaSeconds, null, 'a clock that was set back')
  t.equal(advance({}, { percent: 0.9 }, 10_000).etaSeconds, null)
})

t.test('in any sequence of updates percent only rises, and stays within 0 and 99', async t => {
  const number = fc.double({ min: -1e6, max: 1e6, noNaN: true })
  const update = fc.record({ percent: number, done: number, total: number }, { requiredKeys: [] })
  fc.assert(fc.property(fc.array(fc.tuple(update, fc.integer({ min: -1000, max: 1e9 }))), updates => {
    let current = noProgress
    for (const [update, elapsedMs] of updates) {
      const next = advanceProgress(current, update, elapsedMs)
      if (next.percent < current.percent || next.percent > 99 || !Number.isInteger(next.percent)) return false
      if (next.etaSeconds !== null && (next.etaSeconds < 0 || !Number.isInteger(next.etaSeconds))) return false
      current = next
    }
    return true
  }))
  t.pass()
})
