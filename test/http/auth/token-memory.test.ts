import t from 'tap'
import { createTokenMemory } from '../../../src/http/auth/token-memory.ts'

const open = (keptMsMax = Infinity) => {
  const clock = { ms: 1000 }
  return { clock, ...createTokenMemory<string>({ now: () => clock.ms, keptMsMax }) }
}

t.test('a header is known by its whole text, until its token ends', async t => {
  const { clock, find, keep } = open()
  keep('Bearer a.b.c', 'ann', 5000)
  t.equal(find('Bearer a.b.c'), 'ann')
  for (const other of ['Bearer a.b.d', 'bearer a.b.c', 'Bearer a.b.c ', 'Bearer a.b', 'a.b.c', '']) t.equal(find(other), undefined, other)
  clock.ms = 4999
  t.equal(find('Bearer a.b.c'), 'ann')
  clock.ms = 5000
  t.equal(find('Bearer a.b.c'), undefined)
  clock.ms = 4000
  t.equal(find('Bearer a.b.c'), undefined, 'and gone, even where the clock is put back')
})

t.test('no verification is relied on longer than told', async t => {
  const { clock, find, keep } = open(100)
  keep('x', 'ann', 5000)
  clock.ms = 1099
  t.equal(find('x'), 'ann')
  clock.ms = 1100
  t.equal(find('x'), undefined)
})

t.test('when the keys change all is forgotten', async t => {
  const { find, keep, clear } = open()
  keep('x', 'ann', 5000)
  keep('y', 'ben', 5000)
  clear()
  t.same([find('x'), find('y')], [undefined, undefined])
})

t.test('it stays small, by number and by size', async t => {
  const { find, keep } = open()
  for (let at = 0; at < 20_000; at++) keep(`token-${at}`, 'ann', 5000)
  t.equal(find('token-0'), undefined)
  t.equal(find('token-19999'), 'ann')
  const long = (at: number) => `${at}`.padEnd(16_000, 'x')
  for (let at = 0; at < 1000; at++) keep(long(at), 'ann', 5000)
  const kept = Array.from({ length: 1000 }, (_, at) => find(long(at))).filter(found => found !== undefined).length
  t.ok(kept > 100 && kept < 600, `${kept} of 1,000 long ones`)
})
