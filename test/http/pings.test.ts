import t from 'tap'
import { createSchedulePings } from '../../src/http/pings.ts'

/** Pings by a clock that the test moves, with the number of timers that are set and have been set. */
const open = () => {
  let now = 0
  let made = 0
  const timers = new Map<number, { at: number, work: () => void }>()
  const schedulePings = createSchedulePings((work, ms) => {
    const id = ++made
    timers.set(id, { at: now + ms, work })
    return { cancel: () => { timers.delete(id) } }
  })
  const pings: Array<[name: string, at: number]> = []
  return {
    pings,
    begin: (name: string, onPing = () => {}) => schedulePings(() => {
      pings.push([name, now])
      onPing()
    }),
    timers: () => timers.size,
    made: () => made,
    advance: (ms: number) => {
      for (const end = now + ms; now < end;) {
        now += 1
        for (const [id, { at, work }] of timers) {
          if (at > now) continue
          timers.delete(id)
          work()
        }
      }
    }
  }
}

t.test('each stream is pinged within 15 s, and every 15 s from then on', async t => {
  const { begin, advance, pings } = open()
  const begunAt = new Map<string, number>()
  for (let count = 0; count < 100; count++) {
    begunAt.set(`s${count}`, count * 333)
    begin(`s${count}`)
    advance(333)
  }
  advance(40_000)
  for (const [name, from] of begunAt) {
    const times = [from, ...pings.filter(([of]) => of === name).map(([, at]) => at)]
    t.ok(times.length > 2)
    for (const [index, at] of times.slice(1).entries()) {
      const pause = at - (times[index] ?? 0)
      t.ok(index === 0 ? pause > 14_700 && pause <= 15_000 : pause === 15_000, `${name}: ${pause} ms`)
    }
  }
})

t.test('thousands of streams set as many timers as one', async t => {
  const { begin, advance, made, pings } = open()
  for (let count = 0; count < 5000; count++) begin('s')
  advance(15_000)
  t.equal(pings.length, 5000)
  t.equal(made(), 61)
})

t.test('one that has ended is not pinged, also if it ends in a round, and without any no timer is left', async t => {
  const { begin, advance, timers, pings } = open()
  const first = begin('first', () => { second.cancel() })
  const second = begin('second')
  advance(30_000)
  t.same(pings.map(([name]) => name), ['first', 'first'])
  first.cancel()
  first.cancel()
  t.equal(timers(), 0)
  begin('third')
  advance(15_000)
  t.equal(pings.at(-1)?.[0], 'third')
})
