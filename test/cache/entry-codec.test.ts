import fc from 'fast-check'
import t from 'tap'
import { type StatusEntry, entryStates } from '../../src/job/status-entry.ts'
import { decodeEntry, encodeEntry } from '../../src/cache/entry-codec.ts'
import { entryAt } from './conformance.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 60 })

const anyEntry: fc.Arbitrary<StatusEntry> = fc.record({
  jobId: fc.stringMatching(/^[A-Za-z0-9._~-]{1,128}$/),
  version: fc.maxSafeNat(),
  tenant: fc.option(text),
  state: fc.constantFrom(...entryStates),
  percent: fc.integer({ min: 0, max: 100 }),
  pollAfterMs: fc.integer({ min: 0, max: 10_000 }),
  expiredAt: fc.integer({ min: 0, max: 8_640_000_000_000_000 }),
  hasResult: fc.boolean(),
  canCancel: fc.boolean(),
  v1Body: fc.constant(''),
  taskBody: text
}, { noNullPrototype: true }).chain(entry => fc.tuple(fc.constant(entry), fc.option(text))).map(([entry, v1]) =>
  v1 === null ? entry : { ...entry, v1Body: `{"jobId":"${entry.jobId}",${v1}` })

t.test('any entry that is encoded is decoded to the same entry', async t => {
  fc.assert(fc.property(anyEntry, entry => {
    const decoded = decodeEntry(encodeEntry(entry, 2), entry.jobId, 2)
    t.strictSame(decoded, entry)
  }), { numRuns: 500 })
})

t.test('an entry of another job, or a part of an entry, is not decoded', async t => {
  fc.assert(fc.property(anyEntry, fc.nat(), (entry, at) => {
    const encoded = encodeEntry(entry, 2)
    if (decodeEntry(
      encoded, `${entry.jobId.slice(1)}x`, 2
    ) !== undefined && `${entry.jobId.slice(1)}x` !== entry.jobId) {
      throw new Error('another job')
    }
    if (decodeEntry(encoded.slice(0, at % encoded.length), entry.jobId, 2) !== undefined) throw new Error('a part')
    if (decodeEntry(`${encoded} `, entry.jobId, 2) !== undefined) throw new Error('more than the whole')
  }), { numRuns: 500 })
  t.pass('by examples of any kind')
})

t.test('an entry of an earlier release, without the flags, is not decoded', async t => {
  const encoded = encodeEntry(entryAt(1), 2)
  t.match(decodeEntry(encoded, 'job-1', 2), { hasResult: true, canCancel: true })
  t.equal(decodeEntry(encoded, 'job-1', 3), undefined, 'bodies that this process would not make')
  t.equal(decodeEntry(encoded.replace(' 11 ', ' '), 'job-1', 2), undefined)
  for (const flags of ['1', '111', '12', '2']) {
    t.equal(decodeEntry(encoded.replace(' 11 ', ` ${flags} `), 'job-1', 2), undefined, flags)
  }
  t.match(decodeEntry(encoded.replace(' 11 ', ' 01 '), 'job-1', 2), { hasResult: false, canCancel: true })
})
