import fc from 'fast-check'
import t from 'tap'
import { toRange } from '../../../../src/http/routes/results/ranges.ts'

const eTag = '"abc"'
const part = (start: number, end: number) => ({ kind: 'part', start, end })
const whole = { kind: 'whole' }
const unsatisfiable = { kind: 'unsatisfiable' }

const ofTen: Array<[string | undefined, object]> = [
  [undefined, whole],
  ['bytes=0-0', part(0, 1)],
  ['bytes=0-9', part(0, 10)],
  ['bytes=3-5', part(3, 6)],
  ['bytes=9-9', part(9, 10)],
  ['bytes=5-', part(5, 10)],
  ['bytes=0-', part(0, 10)],
  ['bytes=8-1000', part(8, 10)],
  [`bytes=8-${'9'.repeat(400)}`, part(8, 10)],
  ['bytes=007-008', part(7, 9)],
  ['Bytes=1-2', part(1, 3)],
  ['bytes=-1', part(9, 10)],
  ['bytes=-10', part(0, 10)],
  ['bytes=-11', part(0, 10)],
  ['bytes=-0', unsatisfiable],
  ['bytes=10-', unsatisfiable],
  ['bytes=10-10', unsatisfiable],
  [`bytes=${'9'.repeat(400)}-`, unsatisfiable],
  ['bytes=5-4', whole],
  ['bytes=-', whole],
  ['bytes=', whole],
  ['bytes', whole],
  ['bytes=a-b', whole],
  ['bytes=1-2x', whole],
  ['bytes=1.5-2', whole],
  ['bytes=0x1-2', whole],
  ['bytes= 1-2', whole],
  ['bytes=--1', whole],
  ['bytes=1-2-3', whole],
  ['bytes=0-1,3-4', whole],
  ['bytes=0-1, bytes=3-4', whole],
  ['bytes=0-1,', whole],
  ['items=0-1', whole],
  ['', whole]
]

for (const [range, expected] of ofTen) {
  t.test(`ten bytes, Range: ${range?.slice(0, 30)}`, async t => {
    t.same(toRange({ range }, eTag, 10), expected)
  })
}

t.test('an empty result satisfies suffix ranges only', async t => {
  for (const range of ['bytes=0-', 'bytes=0-0', 'bytes=-0', 'bytes=1-2']) {
    t.same(toRange({ range }, eTag, 0), unsatisfiable, range)
  }
  t.same(toRange({ range: 'bytes=-5' }, eTag, 0), whole)
  t.same(toRange({}, eTag, 0), whole)
})

t.test('If-Range applies Range only if the ETag matches', async t => {
  const range = 'bytes=0-1'
  t.same(toRange({ range, 'if-range': eTag }, eTag, 10), part(0, 2))
  for (const other of ['"abd"', 'W/"abc"', 'abc', '*', '"abc", "abd"', 'Sat, 31 Jan 2026 12:00:00 GMT', '']) {
    t.same(toRange({ range, 'if-range': other }, eTag, 10), whole, other)
    t.same(toRange({ range: 'bytes=99-', 'if-range': other }, eTag, 10), whole, `${other}, out of reach`)
  }
})

t.test('a part is never empty and never exceeds the size', async t => {
  const edge = fc.oneof(fc.nat(20), fc.nat().map(String), fc.constant(''))
  fc.assert(fc.property(edge, edge, fc.nat(20), (first, last, sizeBytes) => {
    const range = toRange({ range: `bytes=${first}-${last}` }, eTag, sizeBytes)
    if (range.kind !== 'part') return
    t.ok(range.start >= 0 && range.start < range.end && range.end <= sizeBytes, JSON.stringify(range))
    if (first !== '') t.equal(range.start, Number(first))
  }))
})
