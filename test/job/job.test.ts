import fc from 'fast-check'
import t from 'tap'
import { isJobId, isTerminal, jobIdPattern, recordStatuses, toRecordStatus } from '../../src/job/job.ts'
import { anyCodePoint } from '../helpers/any-text.ts'
import { inEachState } from '../store/jobs.ts'

t.test('an id is 1 to 128 characters that need no escaping', async t => {
  for (const text of ['a', 'job-123', '0', '...', '.a', '~', '_', '-', 'A.b_c~d-9', 'a'.repeat(128)]) {
    t.equal(isJobId(text), true, text)
  }
  const bad = [
    '', '.', '..', 'a'.repeat(129), 'a'.repeat(10_000), 'a b', ' a', 'a ', 'a/b', 'a\\b', 'a%20b', 'a:b', 'a{b}', 'a*', 'a?', 'a#',
    'a+b', 'a,b',
    'a\n', '\na', 'a\nb', 'a\0', 'a\0b', 'ä', 'é', 'ａ', '👍', '١', 'ſ', '\u212A', '\u202Ea', 'a\uD800'
  ]
  for (const text of bad) t.equal(isJobId(text), false, JSON.stringify(text))
})

t.test('every UUID is an id, and the pattern says the same as the function', async t => {
  fc.assert(fc.property(fc.uuid(), isJobId))
  const published = new RegExp(jobIdPattern)
  const isPublished = (text: string) => text.length <= 128 && published.test(text)
  fc.assert(fc.property(fc.string({ unit: anyCodePoint, maxLength: 140 }), text => isPublished(text) === isJobId(text)))
  fc.assert(fc.property(fc.stringMatching(published), text => isJobId(text) === (text.length <= 128)))
  t.pass('by examples of any kind')
})

t.test('each state has one of the four statuses', async t => {
  const jobs = inEachState.map(make => make('j'))
  t.same(jobs.map(job => toRecordStatus(job.state)), [...recordStatuses, 'Failed'])
  t.same(jobs.map(isTerminal), [false, false, true, true, true])
})
