import t from 'tap'
import { checkHistory } from './checker.ts'
import { endPosition, type FinalRecord, type ForeignWrite, type History, type Operation } from './history.ts'
import { createRecorder } from './recorder.ts'
import type { Rule } from './rules.ts'

/*
 * Histories made by hand: what the checker must find, and what it must not.
 */

const bounds = { foreignMs: 1000, noticeMs: 2000, recoveryMs: 2000 }

/** An operation on the only job, from and to these ms. */
const operation = (
  kind: Operation['kind'], startedAt: number, endedAt: number, revealed: Partial<Operation> = {}
): Operation =>
  ({ kind, job: 0, startedAt, endedAt, version: null, position: null, end: null, node: 0, what: '', ...revealed })
const read = (startedAt: number, endedAt: number, version: number) => operation('read', startedAt, endedAt, { version })
const write = (startedAt: number, endedAt: number, version: number) => operation(
  'write', startedAt, endedAt, { version }
)

const record = (version: number, end: FinalRecord['end'] = 'succeeded'): FinalRecord =>
  ({ jobId: 'job', version, position: end === null ? 1500 : endPosition, end })

const empty = { operations: [], foreignWrites: [], holds: [], follows: [], mirrors: [], faults: [] }

const found = (history: Partial<History>): Rule[] =>
  checkHistory(
    { ...empty, jobs: ['job'], made: new Set([0, 1]), records: [record(9)], ...history },
    bounds
  )
    .map(({ rule }) => rule)

t.test('versions', async t => {
  t.same(found({ operations: [read(0, 1, 1), read(2, 3, 1), read(4, 5, 9)] }), [])
  t.same(found({ operations: [read(0, 1, 2), read(2, 3, 1)] }), ['backward'])
  t.same(found({ operations: [write(0, 1, 2), read(2, 3, 1)] }), ['backward'], 'what was acknowledged was revealed')
  t.same(found({ operations: [read(0, 2, 2), read(1, 3, 1)] }), [], 'it had started before')
  t.same(found({ operations: [read(1, 2, 2), read(0, 3, 1)] }), [], 'however late it ended')
  t.same(found({
    operations: [read(0, 1, 2), read(0, 3, 5), read(2, 4, 1)]
  }), ['backward'], 'what was revealed later does not hide it')
  t.same(found({ operations: [read(0, 1, 2), read(1, 2, 1)] }), [], 'which came first is not known')
  t.same(found({ operations: [read(0, 1, 2), read(2, 3, 0)] }), ['backward'], 'a job that was there is not unknown')
  t.same(found({
    operations: [read(0, 1, 3), read(0, 2, 1), read(3, 4, 2)]
  }), ['backward'], 'the highest counts, not the last')
  t.same(found({
    operations: [write(0, 1, 3), write(2, 3, 2)]
  }), [], 'the answer to a command may be of an earlier moment')
  t.same(found({
    jobs: ['job', 'other'],
    records: [record(9), { ...record(9), jobId: 'other' }],
    operations: [read(0, 1, 5), { ...read(2, 3, 1), job: 1 }]
  }), [], 'each job by itself')
})

t.test('positions', async t => {
  const ack = operation('write', 0, 1, { position: 1050 })
  t.same(found({ operations: [ack, operation('read', 2, 3, { position: 1050 })] }), [])
  t.same(found({ operations: [ack, operation('read', 2, 3, { position: 1049 })] }), ['position-backward'])
  t.same(found({ operations: [ack, operation('read', 0, 3, { position: 1049 })] }), [])
  const atMost = (startedAt: number, positionMax: number) => operation(
    'read', startedAt, startedAt + 1, { positionMax }
  )
  t.same(found({ operations: [ack, atMost(2, 1050)] }), [])
  t.same(found({ operations: [ack, atMost(2, 1049)] }), ['position-backward'])
  t.same(found({
    operations: [atMost(2, 5000), operation('read', 4, 5, { position: 1049 })]
  }), [], 'that it may be so far reveals nothing')
})

t.test('changes by other programs', async t => {
  const foreignWrites: ForeignWrite[] = [{ job: 0, version: 3, committedAt: 10 }]
  t.same(found({ foreignWrites, operations: [read(900, 901, 2), read(1011, 1012, 3)] }), [])
  t.same(found({ foreignWrites, operations: [read(1011, 1012, 2)] }), ['late'])
  t.same(found({ foreignWrites, operations: [read(1009, 2000, 2)] }), [])
  const faults = [{ name: 'x', from: 500, until: 600 }]
  t.same(found({
    foreignWrites, faults, operations: [read(3599, 3600, 2)]
  }), [], 'not while something is broken, and until it has recovered')
  t.same(found({ foreignWrites, faults, operations: [read(3601, 3602, 2)] }), ['late'])
  t.same(found({
    foreignWrites, faults: [...faults, { name: 'y', from: 3000, until: 3100 }], operations: [read(6099, 6100, 2)]
  }), [],
  'another fault meanwhile')
  t.same(found({
    foreignWrites, faults: [{ name: 'z', from: 1100, until: 1200 }], operations: [read(1300, 1301, 2)]
  }), ['late'],
  'a later fault is no excuse')
})

t.test('what is lost', async t => {
  t.same(found({ operations: [write(0, 1, 10)] }), ['lost'])
  t.same(found({ operations: [read(0, 1, 10)] }), ['lost'], 'shown, and never committed')
  t.same(found({ operations: [write(0, 1, 1)], records: [] }), ['lost'])
  t.same(found({ foreignWrites: [{ job: 0, version: 10, committedAt: 0 }] }), ['lost'])
  t.same(found({
    operations: [operation('write', 0, 1, { position: 2000 })], records: [record(9, null)]
  }), ['lost', 'unfinished'])
})

t.test('ends', async t => {
  const end = (at: number, how: FinalRecord['end']) => operation('read', at, at + 1, { end: how })
  t.same(found({ operations: [end(0, 'succeeded'), end(2, 'succeeded')] }), [])
  t.same(found({ operations: [end(0, 'failed'), end(2, 'cancelled')], records: [record(9, 'failed')] }), ['two-ends'])
  t.same(found({ operations: [end(0, 'failed')] }), ['two-ends'], 'and another one in the database')
  t.same(found({ records: [record(9, null)] }), ['unfinished'])
  const two = [record(9), { ...record(9), jobId: 'job-2' }]
  t.same(found({ records: two }), ['unknown-job'])
  t.same(found({ jobs: ['job', 'job-2'], records: two }), [])
  t.same(found({ jobs: ['job', 'job-2'], made: new Set([0]), records: two }), ['unknown-job'], 'it was only seen')
})

t.test('leases', async t => {
  const hold = (attempt: number, from: number, until: number) => ({
    job: 0, attempt, holder: `${attempt}-${from}`, from, until
  })
  t.same(found({ holds: [hold(1, 0, 10), hold(2, 10, 20)] }), [])
  t.same(found({ holds: [hold(1, 0, 10), hold(2, 9, 20)] }), ['two-holders'])
  t.same(found({ holds: [hold(2, 9, 20), hold(1, 0, 10)] }), ['two-holders'], 'in any order')
  t.same(found({ holds: [hold(1, 0, 10), hold(1, 11, 20)] }), ['two-holders'], 'an attempt is given out once')
  t.same(found({
    holds: [
      hold(1, 0, 10), { ...hold(2, 5, 20), job: 1 }
    ],
    jobs: ['job', 'job-2'],
    records: [record(9), { ...record(9), jobId: 'job-2' }]
  }), [])
})

t.test('waits', async t => {
  const wait = (startedAt: number, endedAt: number, above: number | null, revealed: Partial<Operation>) =>
    operation('read', startedAt, endedAt, { wait: { above, limitMs: 5000 }, ...revealed })
  t.same(found({ operations: [wait(0, 10, 1, { version: 2 })] }), [])
  t.same(found({ operations: [wait(0, 10, 1, { version: 1, end: 'succeeded' })] }), [], 'nothing comes after the end')
  t.same(found({ operations: [wait(0, 10, null, { version: 1, end: 'succeeded' })] }), [])
  t.same(found({ operations: [wait(0, 5000, 1, { version: 1 }), wait(0, 4999, null, { version: 1 })] }), [], 'its limit')
  t.same(found({ operations: [wait(0, 10, null, { version: 0 })] }), [], 'there is no such job')
  t.same(found({ operations: [wait(0, 10, 1, { version: 1 })] }), ['early'])
  t.same(found({ operations: [wait(0, 10, null, { version: 2 })] }), ['early'])
  t.same(found({ operations: [read(0, 1, 3), wait(2, 10, 1, { version: 2 })] }), ['backward'], 'it is a read like any other')

  const ended = wait(0, 4000, null, { version: 3, end: 'succeeded' })
  const committed = (committedAt: number) => [{ job: 0, version: 3, committedAt }]
  t.same(found({ operations: [operation('read', 1990, 1999, { end: 'succeeded' }), ended] }), ['unnoticed'])
  t.same(found({ operations: [operation('read', 2000, 2001, { end: 'succeeded' }), ended] }), [])
  t.same(found({ operations: [operation('write', 0, 1, { version: 3 }), ended] }), [], 'that was not the end')
  const changed = wait(10, 4000, 2, { version: 3 })
  t.same(found({ operations: [changed], foreignWrites: committed(1999) }), ['unnoticed'])
  t.same(found({ operations: [changed], foreignWrites: committed(2000) }), [])
  t.same(found({ operations: [changed], foreignWrites: committed(5) }), [], 'that was before it began')
  t.same(found({
    operations: [changed], foreignWrites: committed(100), faults: [{ name: 'x', from: 500, until: 600 }]
  }), [], 'nothing is asked while something is broken')
  t.same(found({
    operations: [wait(10, 5000, 2, { version: 3 })], foreignWrites: committed(100), faults: [{ name: 'x', from: 500, until: 600 }]
  }), ['unnoticed'])
})

t.test('waits of submissions', async t => {
  const submission = operation('write', 0, 10, { position: 0, wait: { above: null, limitMs: 5000 } })
  t.same(found({ operations: [submission] }), ['early'])
  t.same(found({
    operations: [submission], faults: [{ name: 'x', from: 5, until: 6 }]
  }), [], 'what was accepted is answered though it cannot be read')
  t.same(found({ operations: [{ ...submission, end: 'succeeded' }] }), [])
})

t.test('events', async t => {
  const event = (startedAt: number, endedAt: number, version: number, above: number) =>
    operation('read', startedAt, endedAt, { version, wait: { above, limitMs: Infinity } })
  const left = (endedAt: number, above: number) => operation('read', 0, endedAt, { wait: { above, limitMs: endedAt } })
  t.same(found({ operations: [event(0, 1, 1, 0), event(0, 2, 2, 1), left(5000, 2)] }), [])
  t.same(found({ operations: [event(0, 1, 2, 0), event(0, 2, 2, 2)] }), ['early'], 'nothing new')
  t.same(found({ operations: [read(0, 1, 2), event(2, 3, 1, 0)] }), ['backward'], 'a stream begins as a read')
  t.same(found({ operations: [event(0, 1, 1, 0), read(2, 3, 2), left(2002, 1)] }), [])
  t.same(found({ operations: [event(0, 1, 1, 0), read(2, 3, 2), left(2004, 1)] }), ['unnoticed'])
})

t.test('clients that follow the changes of all jobs', async t => {
  const item = (at: number, version: number, least: number) => operation('read', 0, at, { version, least })
  t.same(found({ operations: [item(1, 1, 0), item(2, 2, 1), item(3, 2, 2)] }), [])
  t.same(found({ operations: [item(1, 2, 0), item(2, 1, 2)] }), ['fallen'])

  const committed = (committedAt: number) => [{ job: 0, version: 3, committedAt }]
  const follow = (until: number, ...got: Array<{ version: number, at: number }>) =>
    [{ from: 10, until, who: 'mirror', got: got.map(each => ({ job: 0, ...each })) }]
  const missed = (at: number, follows: ReturnType<typeof follow>, more: Partial<History> = {}) =>
    found({ foreignWrites: committed(at), follows, ...more })
  t.same(missed(20, follow(3000, { version: 3, at: 2020 })), [])
  t.same(missed(20, follow(3000, { version: 4, at: 100 })), [], 'a later version will do')
  t.same(missed(20, follow(3000, { version: 3, at: 2021 })), ['missed'])
  t.same(missed(20, follow(3000, { version: 2, at: 30 })), ['missed'])
  t.same(missed(20, follow(2020)), [], 'it had left')
  t.same(missed(5, follow(3000)), [], 'that was before it began')
  t.same(missed(20, follow(3000), { faults: [{ name: 'x', from: 500, until: 600 }] }), [])
  t.same(missed(20, follow(3000), {
    foreignWrites: [...committed(20), ...committed(2500)]
  }), ['missed'], 'what is there again was there before')

  const mirror = (version: number) => [{ who: 'mirror', versions: [{ job: 0, version }] }]
  t.same(found({ mirrors: mirror(9) }), [])
  t.same(found({ mirrors: mirror(8) }), ['diverged'])
  t.same(found({ mirrors: [{ who: 'mirror', versions: [] }] }), ['diverged'])
  t.same(found({
    jobs: ['job', 'gone'], mirrors: [{ who: 'mirror', versions: [{ job: 0, version: 9 }, { job: 1, version: 1 }] }]
  }), ['diverged'])
})

t.test('a million operations, one of them wrong', async t => {
  const count = 1_000_000
  const jobs = Array.from({ length: 1000 }, (_, index) => `job-${index}`)
  const operations = Array.from({ length: count }, (_, index): Operation => ({
    ...read(index - (index % 7), index + 0.5, index === 700_000 ? 1 : 1 + Math.floor(index / 10_000)), job: index % 1000
  }))
  const records = jobs.map(jobId => ({ ...record(1000), jobId }))
  const beganAt = performance.now()
  const violations = checkHistory({ ...empty, jobs, made: new Set(jobs.keys()), operations, records }, bounds)
  t.comment(`${Math.round(performance.now() - beganAt)} ms`)
  t.match(violations, [{ rule: 'backward', at: 700_000.5 }])
  t.equal(violations.length, 1)
})

t.test('an ETag of another incarnation ends a wait with any state, and matches none', async t => {
  const recorder = createRecorder()
  const read = (status: number, tag: string, etag: string) => {
    const headers = { etag, 'job-state': 'running', 'preference-applied': 'wait=1' }
    const answer = { status, headers, text: '', startedAt: 0, endedAt: 1 }
    recorder.read({
      kind: 'read', job: recorder.toMadeJob('job'), node: 0, what: '', tag, answer, wait: { above: 5, limitMs: 1000 }
    })
    return recorder.operations.at(-1)
  }
  const early = () => found({ operations: recorder.operations.splice(0), records: [record(5)] })
  t.match(read(200, '"aa.5.1"', '"aa.5.1"'), { version: 5, wait: { above: 5 } })
  t.same(early(), ['early'])
  t.match(read(200, '"aa.5.1"', '"bb.5.1"'), { version: 5 })
  t.same(early(), [])
  read(304, '"aa.5.1"', '"aa.5.1"')
  t.same(recorder.complaints, [])
  read(304, '"aa.5.1"', '"bb.5.1"')
  t.match(recorder.complaints, [{ text: /304 under the ETag "bb/ }])
})
