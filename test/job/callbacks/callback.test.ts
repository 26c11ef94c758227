import fc from 'fast-check'
import t from 'tap'
import { pauseBeforeNextTry, settle, triesMax, type TryOutcome } from '../../../src/job/callbacks/callback.ts'

const failed: TryOutcome = { kind: 'failed', status: 409, error: 'e', retryAfterMs: 0, isFinal: false }

t.test('the pauses are the documented ones', async t => {
  const minutes = [5, 30, 120, 360, 1440].map(minutes => minutes * 60)
  const pauses = Array.from({ length: triesMax }, (_, tries) => pauseBeforeNextTry(tries, 0.5))
  t.same(pauses, [0, 1, 2, 4, 8, 15, 30, 60, ...minutes].map(seconds => seconds * 1000))
  t.equal(triesMax, 13)
  t.equal(pauseBeforeNextTry(13, 0.5), null)
})

t.test('they differ by a tenth at most', async t => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 12 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (tries, random) => {
    const middle = pauseBeforeNextTry(tries, 0.5) ?? 0
    const pause = pauseBeforeNextTry(tries, random) ?? 0
    return pause >= middle * 0.9 - 1 && pause <= middle * 1.1 + 1
  }))
  t.equal(pauseBeforeNextTry(3, 0), 3600)
  t.equal(pauseBeforeNextTry(3, 1), 4400)
})

t.test('a receiver may ask for a longer pause, up to an hour', async t => {
  t.equal(pauseBeforeNextTry(1, 0.5, 20_000), 20_000)
  t.equal(pauseBeforeNextTry(1, 0.5, 86_400_000), 3_600_000)
  t.equal(pauseBeforeNextTry(7, 0.5, 20_000), 60_000, 'not for a shorter one')
  t.equal(pauseBeforeNextTry(13, 0.5, 20_000), null, 'nor for another try')
})

t.test('a delivery that fails is tried 13 times', async t => {
  let [tries, at] = [0, 1000]
  for (let count = 1; count < 13; count++) {
    const settled = settle({ tries, stateBefore: null }, failed, at, 0.5)
    t.match(settled, { state: 'pending', tries: count, lastStatus: 409, lastError: 'e', lastTriedAt: at })
    t.equal(settled.nextTryAt, at + (pauseBeforeNextTry(count, 0.5) ?? NaN), 'from the end of the try before')
    tries = settled.tries
    at = (settled.nextTryAt ?? NaN) + 7
  }
  t.match(settle({ tries, stateBefore: null }, failed, at, 0.5), { state: 'failed', tries: 13, nextTryAt: null })
})

t.test('success and a receiver that is gone end it', async t => {
  t.same(settle({ tries: 2, stateBefore: null }, { kind: 'delivered', status: 204 }, 5, 0.5), {
    state: 'delivered', tries: 3, lastStatus: 204, lastError: null, lastTriedAt: 5, nextTryAt: null
  })
  t.match(settle({ tries: 0, stateBefore: null }, { ...failed, status: 410, isFinal: true }, 5, 0.5), {
    state: 'failed', tries: 1, lastStatus: 410, nextTryAt: null
  })
})

t.test('a try that a client asked for is one try', async t => {
  t.match(settle({ tries: 1, stateBefore: 'delivered' }, failed, 5, 0.5), { state: 'delivered', tries: 2, nextTryAt: null })
  t.match(settle({ tries: 13, stateBefore: 'failed' }, failed, 5, 0.5), { state: 'failed', tries: 14, nextTryAt: null })
  t.match(settle({ tries: 13, stateBefore: 'failed' }, { kind: 'delivered', status: 200 }, 5, 0.5), { state: 'delivered' })
  t.match(settle({ tries: 1, stateBefore: 'delivered' }, { ...failed, isFinal: true }, 5, 0.5), { state: 'failed' })
})
