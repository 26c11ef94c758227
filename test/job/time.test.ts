import fc from 'fast-check'
import t from 'tap'
import { toEpochMs, toIso } from '../../src/job/time.ts'

const noon = Date.UTC(2026, 0, 31, 12, 0, 0)
const midnight = Date.UTC(2026, 0, 31)

t.test('reads every ISO 8601 form of one instant', async t => {
  const sameInstant = [
    '2026-01-31T12:00:00.000Z', '2026-01-31T12:00:00Z', '2026-01-31T12:00:00', '2026-01-31T12:00Z', '2026-01-31T12',
    '2026-01-31 12:00:00', '2026-01-31 12:00:00.000', '2026-01-31t12:00:00z', '2026-01-31 12:00:00Z',
    '2026-01-31T12:00z',
    '2026-01-31T14:00:00+02:00', '2026-01-31 14:00:00+02', '2026-01-31T07:30:00-0430', '2026-01-31T12:00:00+00:00',
    '20260131T120000Z', '20260131T120000', '20260131T1200+0000', '2026-031T12:00:00Z', '2026031T120000Z',
    '2026-W05-6T12:00:00Z', '2026W056T120000Z', '2026-01-31T12:00:00,000Z', '+002026-01-31T12:00:00Z'
  ]
  for (const text of sameInstant) t.equal(toEpochMs(text), noon, text)
})

t.test('dates without a time are midnight UTC', async t => {
  for (const text of ['2026-01-31', '20260131', '2026-031', '2026031', '2026-W05-6']) {
    t.equal(toEpochMs(text), midnight, text)
  }
  t.equal(toEpochMs('1969-12-31T23:59:59.999Z'), -1)
  t.equal(toEpochMs('1970-01-01'), 0)
  t.equal(toEpochMs('0099-03-01T00:00:00Z'), Date.parse('0099-03-01T00:00:00Z'), 'not 1999')
  t.equal(toEpochMs('2026-01-31T24:00:00Z'), midnight + 86_400_000, 'the end of the day')
})

t.test('fractions are cut to milliseconds, the same on both paths', async t => {
  t.equal(toEpochMs('2026-01-31T12:00:00.1Z'), noon + 100)
  t.equal(toEpochMs('2026-01-31 12:00:00,123456'), noon + 123)
  t.equal(toEpochMs('2026-01-31T12:00:00.999999999Z'), noon + 999)
  for (let ms = 0; ms < 1000; ms++) {
    const fraction = String(ms).padStart(3, '0')
    t.equal(toEpochMs(`2026-01-31T14:00:00.${fraction}+02:00`), noon + ms, fraction)
  }
})

t.test('returns null for anything but an ISO 8601 date', async t => {
  const invalid = [
    '', ' ', 'now', '12:30', '12:30:00Z', 'T12:30', '1700000000', '2026-13-01', '2026-02-30', '2026-02-29T00:00:00Z',
    '2026-04-31 00:00:00', '2026-00-10T00:00:00Z', '2026-01-00T00:00:00Z', '2026-01-31T25:00:00Z',
    '2026-01-31T12:60:00Z',
    '2026-01-31T12:00:61Z', '2026-W54-1', '2026-366', '31/01/2026', 'Sat, 31 Jan 2026',
    '2026-01-31T12:00:00Zjunk',
    '2026-01-31 12:00:00 CET', '٢٠٢٦-٠١-٣١'
  ]
  for (const text of invalid) t.equal(toEpochMs(text), null, JSON.stringify(text))
  t.equal(toEpochMs('2024-02-29T00:00:00Z'), Date.UTC(2024, 1, 29), 'a leap day')
  t.equal(toEpochMs('2000-02-29 00:00:00'), Date.UTC(2000, 1, 29), 'a leap day of a century')
  t.equal(toEpochMs('1900-02-29 00:00:00'), null)
})

t.test('toEpochMs inverts toIso', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.integer({
    min: -62_135_596_800_000, max: 253_402_300_799_999
  }), ms => toEpochMs(toIso(ms)) === ms)))
  t.equal(toIso(noon), '2026-01-31T12:00:00.000Z')
  t.throws(() => toIso(9e15), RangeError)
})

t.test('toIso writes what Date does', async t => {
  const dayMs = 86_400_000
  const bounds = [Date.parse('0000-01-01T00:00:00Z'), 253_402_300_799_999, 8.64e15, -8.64e15, 0, -0, 0.5, -0.5]
  const ofOneDay = fc.integer({ min: -dayMs, max: dayMs })
  const any = fc.oneof(
    fc.integer({ min: -8.64e15, max: 8.64e15 }), fc.double({ min: -8.64e15, max: 8.64e15, noNaN: true }),
    fc.constantFrom(...bounds), fc.integer({ min: -1e6, max: 1e6 }).map(day => day * dayMs)
  )
  fc.assert(fc.property(any, ofOneDay, (ms, more) => {
    for (const time of [ms, ms + more].filter(time => Math.abs(time) <= 8.64e15)) {
      t.equal(toIso(time), new Date(time).toISOString())
    }
  }))
})
