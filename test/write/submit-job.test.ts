import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { createSubmitJob, idempotencyKeyKeptMs } from '../../src/write/submit-job.ts'
import { createCommit } from '../../src/write/commit.ts'
import { isJobId } from '../../src/job/job.ts'
import { alice, appended, openCommands } from './commands.ts'

const submission = { type: 'report', input: { from: '2026-01-01', type: 'x' } }

t.test('queues a submitted job with its submitter', async t => {
  const { submitJob, job, clock, queued } = await openCommands(t)
  const { jobId, entry, replayed } = await submitJob(alice, submission, null)
  t.equal(replayed, false)
  t.match(entry, { jobId, version: 1, tenant: 'acme', state: 'queued' })
  t.match(await job(jobId), {
    state: 'queued',
    version: 1,
    tenant: 'acme',
    submittedBy: 'alice',
    type: 'report',
    createdAt: clock.ms,
    startedAt: null,
    attempt: 0
  })
  t.equal(queued.length, 1)
})

t.test('a key whose job is forgotten is free, for any request', async t => {
  const { submitJob, sql } = await openCommands(t)
  const { jobId } = await submitJob(alice, submission, 'k')
  sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  t.match(await submitJob(alice, submission, 'k'), { jobId, replayed: true, entry: { state: 'expired' } })
  sql('DELETE FROM JobTombstone')
  const next = await submitJob(alice, { ...submission, type: 'other' }, 'k')
  t.match(next, { replayed: false, entry: { state: 'queued' } })
  t.not(next.jobId, jobId)
  t.match(await submitJob(alice, { ...submission, type: 'other' }, 'k'), { jobId: next.jobId, replayed: true })
})

t.test('accepts any JSON as input', async t => {
  const { submit, claim } = await openCommands(t)
  for (const input of [
    null, 0, '', 'text', [], [1, [2]], { a: { b: null } }, JSON.parse('{"__proto__":{"a":1}}'), '\uD800', '\0'
  ]) {
    await submit({ input })
    t.same(JSON.parse((await claim()).input), input)
  }
})

t.test('gives a job three attempts by default', async t => {
  const { submit, count } = await openCommands(t)
  await submit()
  await submit({ maxAttempts: 7, timeoutSeconds: 5 })
  t.equal(count('JobQueue WHERE maxAttempts = 3 AND timeoutMs IS NULL'), 1)
  t.equal(count('JobQueue WHERE maxAttempts = 7 AND timeoutMs = 5000'), 1)
})

t.test('makes a job of every submission without a key', async t => {
  const { submit, count } = await openCommands(t)
  t.not(await submit(), await submit())
  t.equal(count('JobExecutionLog'), 2)
})

t.test('returns the job as it is now for the same key and request', async t => {
  const { submitJob, claim, runJob, count } = await openCommands(t)
  const first = await submitJob(alice, submission, 'key')
  t.match(await submitJob(alice, submission, 'key'), { jobId: first.jobId, replayed: true, entry: { state: 'queued' } })
  await runJob.complete(await claim(), appended(0))
  t.match(await submitJob(alice, submission, 'key'), {
    jobId: first.jobId, replayed: true, entry: { state: 'succeeded' }
  })
  t.match(
    await submitJob({ ...alice, subject: 'bob' }, submission, 'key'), { jobId: first.jobId }, 'keys are the tenant’s'
  )
  t.equal(count('JobExecutionLog'), 1)
})

t.test('compares requests by their canonical JSON', async t => {
  const { submitJob } = await openCommands(t)
  const send = (input: unknown) => submitJob(alice, { type: 'report', input }, 'key')
  await send({ a: 1, b: [{ c: 2, d: 3 }] })
  t.match(await send({ b: [{ d: 3, c: 2 }], a: 1 }), { replayed: true })
  t.match(await submitJob(alice, { input: { b: [{ d: 3, c: 2 }], a: 1 }, type: 'report' }, 'key'), { replayed: true })
})

t.test('rejects another request under a used key, and keeps nothing of it', async t => {
  const { submitJob, count, changeLog } = await openCommands(t)
  await submitJob(alice, submission, 'key')
  const others = [
    { ...submission, type: 'sanitize' }, { ...submission, input: { from: '2026-01-02', type: 'x' } },
    { ...submission, input: null },
    { ...submission, input: [submission.input] }, { ...submission, maxAttempts: 3 },
    { ...submission, timeoutSeconds: 1 }
  ]
  for (const other of others) {
    await t.rejects(submitJob(alice, other, 'key'), { name: 'ServiceFailure', code: 'IDEMPOTENCY_KEY_REUSED' })
  }
  t.same([count('JobExecutionLog'), count('JobQueue'), changeLog.head()], [1, 1, 1])
})

t.test('keeps keys separate by tenant', async t => {
  const { submitJob } = await openCommands(t)
  const { jobId } = await submitJob(alice, submission, 'key')
  const other = await submitJob({ ...alice, tenant: 'other' }, submission, 'key')
  t.equal(other.replayed, false)
  t.not(other.jobId, jobId)
})

t.test('keeps a key for a day from its first use, even if it is used again', async t => {
  const { submitJob, clock } = await openCommands(t)
  const first = await submitJob(alice, submission, 'key')
  clock.ms += idempotencyKeyKeptMs - 1
  t.match(await submitJob(alice, submission, 'key'), { jobId: first.jobId, replayed: true })
  clock.ms += 1
  const second = await submitJob(alice, { ...submission, type: 'sanitize' }, 'key')
  t.equal(second.replayed, false, 'then it is as good as new')
  t.not(second.jobId, first.jobId)
  await t.rejects(
    submitJob(alice, submission, 'key'), { code: 'IDEMPOTENCY_KEY_REUSED' }, 'and stands for the second request'
  )
  t.equal(idempotencyKeyKeptMs, 86_400_000)
})

t.test('one key used by many submissions at once, in two processes, makes one job', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const sides = [await openCommands(t, path), await openCommands(t, path)]
  const keys = Array.from({ length: 4 }, (_, index) => `key-${index}`)
  const submitted = await Promise.all(sides.flatMap(({ transact, expose }, side) => keys.flatMap(key => {
    const commit = createCommit({ transact, expose, onTransition: () => {} })
    const submitJob = createSubmitJob({
      commit, now: () => 0, randomUuid: () => `${side}-${randomUUID()}`, onQueued: () => {}
    })
    return Array.from({ length: 10 }, async () => ({ key, ...await submitJob(alice, submission, key) }))
  })))
  for (const key of keys) {
    const ofKey = submitted.filter(answer => answer.key === key)
    t.equal(ofKey.length, 20)
    t.equal(new Set(ofKey.map(({ jobId }) => jobId)).size, 1)
    t.equal(ofKey.filter(({ replayed }) => !replayed).length, 1)
  }
  t.equal(sides[0]?.count('JobExecutionLog'), keys.length)
})

t.test('a submission that fails passes its key on to the next', async t => {
  const { commit, submitJob, job, sql, count } = await openCommands(t)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('taken', 'Running')")
  const failing = createSubmitJob({ commit, now: () => 0, randomUuid: () => 'taken', onQueued: () => {} })
  const [first, second, third] = await Promise.allSettled([
    failing(alice, { ...submission, type: 'other' }, 'key'), submitJob(alice, submission, 'key'),
    submitJob(alice, submission, 'key')
  ])
  t.match(first, { status: 'rejected', reason: { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' } })
  t.match([second, third], [{ value: { replayed: false } }, { value: { replayed: true } }])
  t.match(await job(second.status === 'fulfilled' ? second.value.jobId : ''), { type: 'report' })
  t.equal(count('IdempotencyKey'), 1)
})

t.test('a replay of an erased job says that it is gone', async t => {
  const { submitJob, sql } = await openCommands(t)
  await submitJob(alice, submission, 'key')
  sql('DELETE FROM JobExecutionLog')
  t.match(await submitJob(alice, submission, 'key'), { replayed: true, entry: { state: 'expired' } })
})

t.test('keeps nothing of a submission whose id is taken', async t => {
  const { transact, count, sql } = await openCommands(t)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('taken', 'Running')")
  const commit = createCommit({
    transact, expose: () => Promise.reject(new Error('not reached')), onTransition: () => {}
  })
  const submitJob = createSubmitJob({ commit, randomUuid: () => 'taken', now: () => 0, onQueued: () => {} })
  await t.rejects(submitJob(alice, submission, 'key'), { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' })
  t.same([count('JobExecutionLog'), count('JobQueue'), count('JobInput'), count('IdempotencyKey')], [1, 0, 0, 0])
  t.ok(isJobId(randomUUID()), 'which a UUID never is')
})
