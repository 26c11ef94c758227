import t, { type Test } from 'tap'
import { createWorker, embeddedHolder, type Worker } from '../../src/background/worker.ts'
import { ServiceFailure } from '../../src/errors.ts'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { createProcessorPool, type ProcessorPool } from '../../src/processors/pool.ts'
import { createQueueLook } from '../../src/store/queue.ts'
import { createRunJob, type RunJob } from '../../src/write/run-job.ts'
import { createSubmitJob } from '../../src/write/submit-job.ts'
import { openParts } from '../helpers/parts.ts'
import { until } from '../helpers/until.ts'

const registry = new URL('./processors-of-the-test.ts', import.meta.url)
const types = ['echo', 'stall', 'refuse', 'crash', 'flaky', 'break', 'slow']

/** A worker on a real database and real threads, whose processors do what the test needs. */
const setUp = async (t: Test, { leaseMs = 30_000, slots = 1 } = {}) => {
  const parts = await openParts(t, { cache: createMemoryCache({ now: () => performance.now(), random: () => 0 }) })
  const { transact, expose, databasePath } = parts
  let ids = 0
  const runJob = createRunJob({ transact, queue: createQueueLook(parts), expose, randomId: () => `lease-${ids++}`, now: () => Date.now(), onTransition: () => {} })
  const pool = createProcessorPool({ databasePath, threads: slots, registry })
  const errors: Error[] = []
  const open = (overrides: { runJob?: RunJob, pool?: ProcessorPool } = {}): Worker => createWorker({
    runJob, pool, types, slots, leaseMs, onError: error => { errors.push(error) }, ...overrides
  })
  const worker = open()
  t.teardown(async () => {
    await worker.stop(0)
    await pool.close()
  })
  const submitter = { subject: 'me', tenant: 'acme', allTenants: false }
  const submitJob = createSubmitJob({ transact, expose, randomUuid: () => `job-${ids++}`, now: () => Date.now(), onQueued: worker.wake })
  const submit = async (type: string, input: unknown, more: { maxAttempts?: number, timeoutSeconds?: number } = {}) =>
    (await submitJob(submitter, { type, input, ...more }, null)).jobId
  const read = async (jobId: string) => {
    const { taskBody } = await parts.readStatus(jobId, 0)
    return JSON.parse(taskBody).data
  }
  const reaches = async (jobId: string, status: string) => await until(async () => {
    const data = await read(jobId)
    return data.status === status ? data : undefined
  }, `${jobId} ${status}`)
  return { ...parts, runJob, pool, worker, errors, open, submit, read, reaches }
}

t.test('runs a job to its end: progress, bytes in order, an inline JSON result, the last message', async t => {
  const { worker, submit, reaches, database } = await setUp(t)
  worker.start()
  const jobId = await submit('echo', { text: '{"a":1.0}' })
  const data = await reaches(jobId, 'succeeded')
  t.match(data, { attempt: 1, result: { a: 1 }, progress: { percent: 100, message: 'echoed' }, resultAvailable: true })
  const large = await submit('echo', { text: 'x'.repeat(200_000) })
  t.match(await reaches(large, 'succeeded'), { result: null })
  const chunks = database.reader.prepare('SELECT startOffset, length(bytes) AS size FROM JobResultChunk WHERE jobId = ? ORDER BY startOffset').all(large)
  t.same(chunks, [0, 1, 2, 3].map(i => ({ startOffset: i * 65_536, size: i < 3 ? 65_536 : 200_000 - 3 * 65_536 })))
  t.equal(database.reader.prepare('SELECT count(*) FROM JobQueue').pluck().get(), 0, 'the queue holds what is not finished')
})

t.test('a failure of the processor is the failure of the job', async t => {
  const { worker, submit, reaches } = await setUp(t)
  worker.start()
  t.match(await reaches(await submit('refuse', {}), 'failed'), { failure: { code: 'REFUSED', message: 'no', details: { why: 1 } }, attempt: 1 })
  t.match(await reaches(await submit('crash', {}, { maxAttempts: 1 }), 'failed'), { failure: { code: 'PROCESSOR_CRASHED' }, attempt: 1 })
})

t.test('what a failed run has written is not kept', async t => {
  const { worker, submit, reaches, database } = await setUp(t)
  worker.start()
  await reaches(await submit('break', {}, { maxAttempts: 1 }), 'failed')
  t.equal(database.reader.prepare('SELECT count(*) FROM JobResultChunk').pluck().get(), 0)
})

t.test('what failed by accident is tried again, after a while', async t => {
  const { worker, submit, reaches, read } = await setUp(t)
  worker.start()
  const jobId = await submit('flaky', {}, { maxAttempts: 2 })
  t.match(await reaches(jobId, 'succeeded'), { attempt: 2 })
  t.match(await read(jobId), { failure: null })
})

t.test('a run that takes too long is ended', async t => {
  const { worker, submit, reaches } = await setUp(t)
  worker.start()
  t.match(await reaches(await submit('stall', {}, { maxAttempts: 1, timeoutSeconds: 1 }), 'failed'), { failure: { code: 'TIMEOUT' } })
})

t.test('a run outlives its first lease by heartbeats, which are no change', async t => {
  const { worker, submit, reaches, read, database } = await setUp(t, { leaseMs: 300 })
  worker.start()
  const jobId = await submit('stall', {})
  const { version } = await reaches(jobId, 'running')
  const leaseEnd = () => Number(database.reader.prepare('SELECT leaseExpiresAt FROM JobQueue').pluck().get())
  const first = leaseEnd()
  await until(() => leaseEnd() > first + 600, 'three leases')
  t.match(await read(jobId), { status: 'running', version })
})

t.test('a store that is away for a while costs no attempt: the run goes on, and reports when it can', async t => {
  const { open, runJob, submit, reaches, errors, worker: idle } = await setUp(t, { leaseMs: 600 })
  await idle.stop(0)
  const away = new ServiceFailure('STORE_UNAVAILABLE', 'away')
  let refusals = { heartbeat: 1, append: 2, complete: 2, fail: 2 }
  const refusing = <Args extends unknown[], Value>(name: keyof typeof refusals, command: (...args: Args) => Promise<Value>) =>
    async (...args: Args): Promise<Value> => {
      if (refusals[name] > 0) {
        refusals = { ...refusals, [name]: refusals[name] - 1 }
        throw away
      }
      return await command(...args)
    }
  const worker = open({
    runJob: {
      ...runJob,
      heartbeat: refusing('heartbeat', runJob.heartbeat),
      append: refusing('append', runJob.append),
      complete: refusing('complete', runJob.complete),
      fail: refusing('fail', runJob.fail)
    }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 500 }, { maxAttempts: 1 }), 'succeeded'), { attempt: 1 })
  t.match(await reaches(await submit('refuse', {}, { maxAttempts: 1 }), 'failed'), { failure: { code: 'REFUSED' } })
  t.same(refusals, { heartbeat: 0, append: 0, complete: 0, fail: 0 })
  t.equal(errors.length, 3, 'each is told of once')
})

t.test('a store that never takes a report holds the run for a lease, not for ever', async t => {
  const { open, runJob, submit, reaches, worker: idle } = await setUp(t, { leaseMs: 300 })
  await idle.stop(0)
  const worker = open({ runJob: { ...runJob, append: () => Promise.reject(new ServiceFailure('STORE_UNAVAILABLE', 'full')) } })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 1 }, { maxAttempts: 1 }), 'failed'), { failure: { code: 'PROCESSOR_FAILED' } })
})

t.test('a run whose lease is lost is ended, and tells nothing', async t => {
  const { worker, submit, reaches, sql, database } = await setUp(t, { leaseMs: 150 })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  sql("UPDATE JobQueue SET leaseToken = 'another'")
  // With one slot, another job runs only once the first run has ended.
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.equal(database.reader.prepare('SELECT leaseToken FROM JobQueue WHERE jobId = ?').pluck().get(jobId), 'another')
})

t.test('stopping gives a run that does not end back to the queue, at once and for free', async t => {
  const { worker, submit, reaches, read, open } = await setUp(t)
  worker.start()
  const jobId = await submit('stall', {}, { maxAttempts: 1 })
  await reaches(jobId, 'running')
  await worker.stop(0)
  t.match(await read(jobId), { status: 'queued', attempt: 1 })
  const next = open()
  next.start()
  t.match(await reaches(jobId, 'running'), { attempt: 2 })
  await next.stop(0)
})

t.test('as many jobs at once as there are slots', async t => {
  const { worker, submit, reaches, read } = await setUp(t, { slots: 2 })
  worker.start()
  const jobs = [await submit('stall', {}), await submit('stall', {}), await submit('stall', {})]
  await Promise.all(jobs.slice(0, 2).map(jobId => reaches(jobId, 'running')))
  t.match(await read(jobs[2] ?? ''), { status: 'queued' })
})

t.test('a claim that fails is reported, and tried again', async t => {
  const { open, runJob, submit, reaches, errors } = await setUp(t)
  let failures = 1
  const worker = open({ runJob: { ...runJob, claim: (...args) => failures-- > 0 ? Promise.reject(new Error('busy')) : runJob.claim(...args) } })
  t.teardown(() => worker.stop(0))
  const jobId = await submit('echo', { text: '1' })
  worker.start()
  await reaches(jobId, 'succeeded')
  t.match(errors, [{ message: 'busy' }])
})

t.test('what a dead worker held is taken up again', async t => {
  const { runJob, worker, submit, reaches } = await setUp(t)
  const jobId = await submit('echo', { text: '1' })
  t.match(await runJob.claim(types, embeddedHolder, 60_000), { jobId })
  t.equal(await runJob.rescue(), 0, 'its lease has not run out')
  t.equal(await runJob.rescue(embeddedHolder), 1)
  worker.start()
  t.match(await reaches(jobId, 'succeeded'), { attempt: 2 })
})
