import t, { type Test } from 'tap'
import { createWorker, type Worker, type WorkerNeeds } from '../../src/background/worker.ts'
import { ServiceFailure } from '../../src/errors.ts'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { createProcessorPool } from '../../src/processors/threads/pool.ts'
import { createQueueReader } from '../../src/store/sqlite/queue-reader.ts'
import { createCancelJob } from '../../src/write/cancel-and-erase.ts'
import { createClaimJob } from '../../src/write/claim-job.ts'
import { createCommit } from '../../src/write/commit.ts'
import { createRescueJobs } from '../../src/write/rescue-jobs.ts'
import { createRunJob } from '../../src/write/run-job.ts'
import { createStoreInput } from '../../src/write/store-input.ts'
import { createSubmitJob, type StoredInput } from '../../src/write/submit-job.ts'
import { openParts } from '../helpers/parts.ts'
import { until } from '../helpers/until.ts'

const registry = new URL('./processors-of-the-test.ts', import.meta.url)
const types = ['echo', 'stall', 'refuse', 'crash', 'flaky', 'break', 'slow', 'measure', 'half', 'report-and-stall']

/** A worker on a real database and real threads, whose processors do what the test needs. */
const setUp = async (t: Test, { leaseMs = 30_000, slots = 1, graceMs = 60_000 } = {}) => {
  const parts = await openParts(t, { cache: createMemoryCache({ now: () => performance.now(), random: () => 0 }) })
  const { transact, expose, databasePath } = parts
  let ids = 0
  const now = () => Date.now()
  const commit = createCommit({ transact, expose, onTransition: () => {} })
  const needs = { commit, now }
  const queueNeeds = { ...needs, queue: createQueueReader(parts), randomId: () => `lease-${ids++}` }
  const rescueJobs = createRescueJobs(queueNeeds)
  const runJob = createRunJob({ ...needs, resultRetentionMs: 3_600_000, graceMs })
  const claimJob = createClaimJob({ ...queueNeeds, release: runJob.release })
  const pool = createProcessorPool({ databasePath, threads: slots, registry })
  const errors: Error[] = []
  const open = (overrides: Partial<WorkerNeeds> = {}): Worker => createWorker({
    claimJob, rescueJobs, runJob, pool, types, slots, holder: 'embedded:new', staleHolders: ['embedded:old'], leaseMs, onError: error => { errors.push(error) }, ...overrides
  })
  const worker = open()
  t.teardown(async () => {
    await worker.stop(0)
    await pool.close()
  })
  const submitter = { subject: 'me', tenant: 'acme', allTenants: false }
  const submitJob = createSubmitJob({ ...needs, randomUuid: () => `job-${ids++}`, onQueued: worker.wake })
  const submit = async (type: string, input: unknown, more: { maxAttempts?: number, timeoutSeconds?: number } = {}, raw?: StoredInput) =>
    (await submitJob(submitter, { type, input, ...more }, null, raw)).jobId
  const storeInput = createStoreInput({ ...needs, randomId: () => `input-${ids++}`, bytesMax: 10_000_000 })
  const cancelJob = createCancelJob({ ...needs, graceMs, onAsked: worker.cancel })
  const cancel = async (jobId: string) => (await cancelJob(jobId, () => true)).outcome
  const read = async (jobId: string) => {
    const { taskBody } = await parts.readStatus(jobId, 0)
    return JSON.parse(taskBody).data
  }
  const reaches = async (jobId: string, status: string) => await until(async () => {
    const data = await read(jobId)
    return data.status === status ? data : undefined
  }, `${jobId} ${status}`)
  return { ...parts, commit, claimJob, rescueJobs, runJob, pool, worker, errors, open, submit, storeInput, cancelJob, cancel, read, reaches }
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
  const jobId = await submit('break', {}, { maxAttempts: 1 })
  t.match(await reaches(jobId, 'failed'), { partialResultAvailable: false, resultAvailable: false })
  t.same(database.reader.prepare('SELECT holder, id, forgetAt FROM OrphanedBytes').all(), [{ holder: 'JobResultChunk', id: jobId, forgetAt: 0 }])
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

t.test('a report that was stored and not answered is not made twice', async t => {
  const { open, runJob, submit, reaches, worker: idle } = await setUp(t)
  await idle.stop(0)
  const away = new ServiceFailure('STORE_UNAVAILABLE', 'stored, and not revealed')
  let appends = 0
  const worker = open({
    runJob: {
      ...runJob,
      append: async (...args) => {
        const isFirst = appends++ === 0
        const size = await runJob.append(...args)
        if (isFirst) throw away
        return size
      },
      complete: async (...args) => {
        await runJob.complete(...args)
        throw away
      }
    }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 1 }, { maxAttempts: 1 }), 'succeeded'), { attempt: 1 })
  t.ok(appends > 1)
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
  const { open, claimJob, submit, reaches, errors } = await setUp(t)
  let failures = 1
  const worker = open({ claimJob: (...args) => failures-- > 0 ? Promise.reject(new Error('busy')) : claimJob(...args) })
  t.teardown(() => worker.stop(0))
  const jobId = await submit('echo', { text: '1' })
  worker.start()
  await reaches(jobId, 'succeeded')
  t.match(errors, [{ message: 'busy' }])
})

t.test('what a dead worker held is taken up again, and what another holds is left to it', async t => {
  const { claimJob, rescueJobs, worker, submit, reaches, read } = await setUp(t)
  const held = await submit('echo', { text: '1' })
  t.match(await claimJob({ types, tenant: null }, 'embedded:other', 60_000), { jobId: held })
  const jobId = await submit('echo', { text: '1' })
  t.match(await claimJob({ types, tenant: null }, 'embedded:old', 60_000), { jobId })
  t.equal(await rescueJobs(), 0, 'its lease has not run out')
  worker.start()
  t.match(await reaches(jobId, 'succeeded'), { attempt: 2 })
  t.match(await read(held), { status: 'running', attempt: 1 })
})

t.test('a run that is cancelled stops at once, and its slot is free', async t => {
  const { worker, submit, reaches, cancel, database, errors } = await setUp(t, { leaseMs: 3_600_000 })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  t.equal(await cancel(jobId), 'asked')
  t.match(await reaches(jobId, 'cancelled'), { failure: { code: 'JOB_CANCELLED' }, isTerminal: true, isSuccess: false, cancelRequested: true, attempt: 1 })
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.equal(database.reader.prepare('SELECT count(*) FROM JobQueue').pluck().get(), 0)
  t.same(errors, [], 'which is no failure of the worker')
})

t.test('a cancellation that another process took in reaches the run with its next heartbeat', async t => {
  const { worker, submit, reaches, commit } = await setUp(t, { leaseMs: 300 })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  const elsewhere = createCancelJob({ commit, now: () => Date.now(), graceMs: 3_600_000, onAsked: () => {} })
  await elsewhere(jobId, () => true)
  t.match(await reaches(jobId, 'cancelled'), { attempt: 1 })
})

t.test('or with its next progress', async t => {
  const { open, worker: idle, runJob, submit, reaches, commit } = await setUp(t, { leaseMs: 3_600_000 })
  await idle.stop(0)
  const elsewhere = createCancelJob({ commit, now: () => Date.now(), graceMs: 3_600_000, onAsked: () => {} })
  const worker = open({
    runJob: {
      ...runJob,
      progress: async (lease, update) => {
        await elsewhere(lease.jobId, () => true)
        return await runJob.progress(lease, update)
      }
    }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('report-and-stall', {}), 'cancelled'), { attempt: 1, progress: { percent: 10 } })
})

t.test('a queued job that is cancelled is never run', async t => {
  const { worker, submit, reaches, cancel, read } = await setUp(t)
  const jobId = await submit('echo', { text: '1' })
  t.equal(await cancel(jobId), 'cancelled')
  worker.start()
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.match(await read(jobId), { status: 'cancelled', attempt: 0, startedAt: null })
})

t.test('a job that has ended before the notice stays as it ended', async t => {
  const { worker, submit, reaches, cancel, read } = await setUp(t)
  worker.start()
  const jobId = await submit('echo', { text: '1' })
  await reaches(jobId, 'succeeded')
  t.equal(await cancel(jobId), 'finished')
  worker.cancel(jobId)
  t.match(await read(jobId), { status: 'succeeded' })
})

t.test('raw bytes reach the processor, in order and whole, and what it counted is recorded', async t => {
  const { worker, submit, storeInput, reaches, database } = await setUp(t)
  const bytes = Buffer.from('0123456789'.repeat(60_000))
  const raw = await storeInput((async function * () { yield bytes })(), 'text/plain', bytes.length)
  const jobId = await submit('measure', { unit: 'byte' }, {}, raw)
  worker.start()
  const data = await reaches(jobId, 'succeeded')
  t.match(data, { result: { unit: 'byte', sizeBytes: 600_000, sha256: raw.sha256 }, progress: { message: 'measured 600000' } })
  const events = database.reader.prepare<[], { at: string }>('SELECT * FROM SanitizationEvent').all()
  t.match(events, [{ jobId, kind: 'byte', count: 600_000 }])
  t.ok(Number.isInteger(Date.parse(events[0]?.at ?? '')))
  t.match(database.reader.prepare('SELECT holder, id FROM OrphanedBytes').all(), [{ holder: 'JobInputChunk', id: raw.inputId }], 'then they are of no more use')
})

t.test('raw bytes for a processor that takes none are a failure that is told', async t => {
  const { worker, submit, storeInput, reaches } = await setUp(t)
  const raw = await storeInput((async function * () { yield Buffer.from('x') })(), 'text/plain', 1)
  worker.start()
  t.match(await reaches(await submit('echo', { text: '1' }, {}, raw), 'failed'), { failure: { code: 'INVALID_INPUT' }, attempt: 1 })
})

t.test('what a run has sent can be seen while it runs', async t => {
  const { worker, submit, reaches, database, cancel, read } = await setUp(t)
  worker.start()
  const jobId = await submit('half', {})
  await until(async () => (await read(jobId)).partialResultAvailable === true, 'the first bytes')
  t.match(await read(jobId), { status: 'running', resultAvailable: false })
  t.match(database.reader.prepare('SELECT resultContentType, resultFileName FROM JobQueue').get(), { resultContentType: 'text/csv', resultFileName: 'half.csv' })
  await cancel(jobId)
  t.match(await reaches(jobId, 'cancelled'), { partialResultAvailable: false })
})
