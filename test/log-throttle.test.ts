import t from 'tap'
import { createCountedThrottle } from '../src/log-throttle.ts'

const create = () => {
  const clock = { ms: 0 }
  const reports: Record<string, number>[] = []
  const timers: Array<{ work: () => void, ms: number, isCancelled: boolean }> = []
  const throttle = createCountedThrottle({
    now: () => clock.ms,
    schedule: (work, ms) => {
      const timer = { work, ms, isCancelled: false }
      timers.push(timer)
      return { cancel: () => { timer.isCancelled = true } }
    },
    onRest: counts => { reports.push(counts) }
  })
  return { ...throttle, clock, reports, timers }
}

t.test('the first occurrence of a subject in each minute is logged, however many there are', async t => {
  const { shouldLog, clock } = create()
  const logged: number[] = []
  for (clock.ms = 0; clock.ms < 180_000; clock.ms += 1000) if (shouldLog('kind', 'one')) logged.push(clock.ms)
  t.same(logged, [0, 60_000, 120_000])
  t.equal(shouldLog('kind', 'two'), true)
  t.equal(shouldLog('other', 'one'), true)
})

t.test('the others are reported together after a minute, by their kind, and only if there are any', async t => {
  const { shouldLog, close, timers, reports } = create()
  shouldLog('kind', 'one')
  t.same(timers, [], 'nothing to report')
  for (const [kind, subject] of [['kind', 'one'], ['kind', 'one'], ['kind', 'two'], ['other', 'one']] as const) {
    shouldLog(kind, subject)
  }
  shouldLog('other', 'one')
  t.equal(timers.length, 1)
  t.equal(timers[0]?.ms, 60_000)
  timers[0]?.work()
  t.same(reports, [{ kind: 2, other: 1 }])
  close()
  t.equal(reports.length, 1, 'nothing is reported twice')
  shouldLog('kind', 'one')
  close()
  t.same(reports, [{ kind: 2, other: 1 }, { kind: 1 }])
  t.equal(timers.at(-1)?.isCancelled, true)
})
