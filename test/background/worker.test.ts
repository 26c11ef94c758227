import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { createWorker, type Worker, type WorkerNeeds } from '../../src/background/worker.ts'
import { ServiceFailure } from '../../src/errors.ts'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { schedule } from '../../src/clocks.ts'
import { createProcessorPool } from '../../src/processors/threads/pool.ts'
import { createInputReader } from '../../src/store/sqlite/readers/input-reader.ts'
import { createResultReader } from '../../src/store/sqlite/readers/result-reader.ts'
import { createRetentionReader } from '../../src/store/sqlite/readers/retention-reader.ts'
import { findQueueItem, setLease } from '../../src/store/tx/runs/queue.ts'
import { resultSize } from '../../src/store/tx/results.ts'
import { pruneOrphans } from '../../src/store/tx/retention.ts'
import type { Claim } from '../../src/write/runs/claim-job.ts'
import type { StoredInput } from '../../src/write/submit-job.ts'
import { createParts, openParts } from '../helpers/parts.ts'
import { until } from '../helpers/until.ts'
import { processors } from './processors-of-the-test.ts'

const types = ['echo', 'stall', 'refuse', 'crash', 'flaky', 'break', 'slow', 'measure', 'half', 'report-and-stall']

// A short lease lets heartbeats come often. It never expires while this clock stands still, however slow the machine is.
const startedAt = Date.now()
const frozen = () => startedAt

/** A worker on a real database and real threads, with the processors of processors-of-the-test.ts. */
const setUp = async (t: Test, {
  leaseMs = 30_000, slots = 1, graceMs = 60_000, now = () => Date.now(), monotonicNow = () => performance.now()
} = {}) => {
  const parts = await openParts(t, {
    cache: createMemoryCache({ now: () => performance.now(), random: () => 0 }),
    now,
    graceMs,
    resultRetentionMs: 3_600_000,
    onQueued: () => { worker.wake() },
    onAsked: jobId => { worker.cancel(jobId) }
  })
  const { transact, path, claimJob, rescueJobs, runJob } = parts
  const pool = createProcessorPool({ databaseUrl: `sqlite:${path}`, threads: slots, processors, schedule })
  const errors: Error[] = []
  const open = (overrides: Partial<WorkerNeeds> = {}): Worker => createWorker({
    claimJob,
    rescueJobs,
    runJob,
    pool,
    types,
    slots,
    holder: 'embedded:new',
    staleHolders: ['embedded:old'],
    abandoned: [],
    leaseMs,
    monotonicNow,
    onError: error => { errors.push(error) },
    ...overrides
  })
  const worker = open()
  t.teardown(async () => {
    await worker.stop(0)
    await pool.close()
  })
  const submitter = { subject: 'me', tenant: 'acme', allTenants: false }
  const submit = async (
    type: string, input: unknown, more: { maxAttempts?: number, timeoutSeconds?: number } = {}, raw?: StoredInput
  ) =>
    (await parts.submitJob(submitter, { type, input, ...more }, null, raw)).jobId
  const cancel = async (jobId: string) => (await parts.cancelJob(jobId, () => true)).outcome
  const read = async (jobId: string) => {
    const { taskBody } = await parts.readStatus(jobId, 0)
    return JSON.parse(taskBody).data
  }
  const reaches = async (jobId: string, status: string) => await until(async () => {
    const data = await read(jobId)
    return data.status === status ? data : undefined
  }, `${jobId} ${status}`)
  const findItem = (jobId: string) => transact(tx => findQueueItem(tx, jobId))
  const retention = createRetentionReader(parts)
  const prune = async () => { while (await transact(tx => pruneOrphans(tx, 0, 100)) > 0); }
  return { ...parts, findItem, retention, prune, pool, worker, errors, open, submit, cancel, read, reaches }
}

t.test('runs a job to its end: progress, bytes in order, an inline JSON result, the last message', async t => {
  const { worker, submit, reaches, database, findItem } = await setUp(t)
  worker.start()
  const jobId = await submit('echo', { text: '{"a":1.0}' })
  const data = await reaches(jobId, 'succeeded')
  t.match(data, { attempt: 1, result: { a: 1 }, progress: { percent: 100, message: 'echoed' }, resultAvailable: true })
  const text = Array.from({ length: 40_000 }, (_, at) => String(10_000 + at)).join('')
  const large = await submit('echo', { text })
  t.match(await reaches(large, 'succeeded'), { result: null })
  const sha256 = createHash('sha256').update(text).digest('base64')
  const chunks = await Array.fromAsync(createResultReader({ database }).read({ jobId: large, sha256 }, 0, 200_000))
  t.same(chunks.map(({ byteLength }) => byteLength), [65_536, 65_536, 65_536, 200_000 - 3 * 65_536])
  t.ok(Buffer.concat(chunks).equals(Buffer.from(text)))
  t.same([await findItem(jobId), await findItem(large)], [undefined, undefined], 'finished jobs leave the queue')
})

t.test('prepares for jobs of its types, while it claims jobs', async t => {
  const { pool, open } = await setUp(t)
  const prepared: Array<[string, boolean]> = []
  const worker = open({ pool: { ...pool, prepare: (type, isRaw) => { prepared.push([type, isRaw]) } } })
  worker.prepare('echo', false)
  worker.start()
  worker.prepare('other', false)
  worker.prepare('echo', true)
  await worker.stop(0)
  worker.prepare('echo', false)
  t.same(prepared, [['echo', true]])
})

t.test('a failure of the processor is the failure of the job', async t => {
  const { worker, submit, reaches } = await setUp(t)
  worker.start()
  t.match(await reaches(await submit('refuse', {}), 'failed'), {
    failure: { code: 'REFUSED', message: 'no', details: { why: 1 } }, attempt: 1
  })
  t.match(await reaches(await submit('crash', {}, { maxAttempts: 1 }), 'failed'), {
    failure: { code: 'PROCESSOR_CRASHED' }, attempt: 1
  })
})

t.test('the bytes of a failed run are not kept', async t => {
  const { worker, submit, reaches, transact, retention, prune } = await setUp(t)
  worker.start()
  const jobId = await submit('break', {}, { maxAttempts: 1 })
  t.match(await reaches(jobId, 'failed'), { partialResultAvailable: false, resultAvailable: false })
  const sizeOf = () => transact(tx => resultSize(tx, jobId))
  t.same([await retention.hasOrphans(0), await sizeOf()], [true, 196_608])
  await prune()
  t.same([await retention.hasOrphans(0), await sizeOf()], [false, 0])
})

t.test('a retryable failure is retried after a while', async t => {
  const { worker, submit, reaches, read } = await setUp(t)
  worker.start()
  const jobId = await submit('flaky', {}, { maxAttempts: 2 })
  t.match(await reaches(jobId, 'succeeded'), { attempt: 2 })
  t.match(await read(jobId), { failure: null })
})

t.test('a run ends at its time-out', async t => {
  const { worker, submit, reaches } = await setUp(t)
  worker.start()
  t.match(await reaches(await submit('stall', {}, { maxAttempts: 1, timeoutSeconds: 1 }), 'failed'), {
    failure: { code: 'TIMEOUT' }
  })
})

t.test('heartbeats extend the lease of a run without a new version', async t => {
  let at = Date.now()
  const { worker, submit, reaches, read, findItem } = await setUp(t, { leaseMs: 300, now: () => at })
  worker.start()
  const jobId = await submit('stall', {})
  const { version } = await reaches(jobId, 'running')
  for (let lease = 1; lease <= 3; lease++) {
    at += 200
    await until(async () => (await findItem(jobId))?.leaseExpiresAt === at + 300, `heartbeat ${lease}`)
  }
  t.match(await read(jobId), { status: 'running', version })
})

t.test('a store that is unavailable for a while costs no attempt: the run goes on and retries its reports', async t => {
  const { open, runJob, submit, reaches, errors, worker: idle } = await setUp(t, {
    leaseMs: 600, now: frozen, monotonicNow: frozen
  })
  await idle.stop(0)
  const unavailable = new ServiceFailure('STORE_UNAVAILABLE', 'unavailable')
  let failuresLeft = { heartbeat: 1, append: 2, complete: 2, fail: 2 }
  const failing = <Args extends unknown[], Value>(
    name: keyof typeof failuresLeft, command: (...args: Args) => Promise<Value>
  ) =>
      async (...args: Args): Promise<Value> => {
        if (failuresLeft[name] > 0) {
          failuresLeft = { ...failuresLeft, [name]: failuresLeft[name] - 1 }
          throw unavailable
        }
        return await command(...args)
      }
  const worker = open({
    runJob: {
      ...runJob,
      heartbeat: failing('heartbeat', runJob.heartbeat),
      append: failing('append', runJob.append),
      complete: failing('complete', runJob.complete),
      fail: failing('fail', runJob.fail)
    }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 500 }, { maxAttempts: 1 }), 'succeeded'), { attempt: 1 })
  t.match(await reaches(await submit('refuse', {}, { maxAttempts: 1 }), 'failed'), { failure: { code: 'REFUSED' } })
  t.same(failuresLeft, { heartbeat: 0, append: 0, complete: 0, fail: 0 })
  t.equal(errors.length, 3, 'each report that was retried is logged once')
})

t.test('a report whose answer was lost is not stored twice', async t => {
  const { open, runJob, submit, reaches, worker: idle } = await setUp(t)
  await idle.stop(0)
  const unavailable = new ServiceFailure('STORE_UNAVAILABLE', 'stored, and not exposed')
  let appends = 0
  const worker = open({
    runJob: {
      ...runJob,
      append: async (...args) => {
        const isFirst = appends++ === 0
        const size = await runJob.append(...args)
        if (isFirst) throw unavailable
        return size
      },
      complete: async (...args) => {
        await runJob.complete(...args)
        throw unavailable
      }
    }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 1 }, { maxAttempts: 1 }), 'succeeded'), { attempt: 1 })
  t.ok(appends > 1)
})

t.test('reports are retried for the time of a lease, not for ever', async t => {
  const { open, runJob, submit, reaches, worker: idle } = await setUp(t, { leaseMs: 300, now: frozen })
  await idle.stop(0)
  const worker = open({
    runJob: { ...runJob, append: () => Promise.reject(new ServiceFailure('STORE_UNAVAILABLE', 'full')) }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 1 }, { maxAttempts: 1 }), 'failed'), {
    failure: { code: 'PROCESSOR_FAILED' }
  })
})

t.test('while the store takes no report at all, a run retries for as long as that lasts', async t => {
  let clock = 0
  const { open, runJob, submit, reaches, worker: idle } = await setUp(t, { leaseMs: 90, now: frozen })
  await idle.stop(0)
  let heartbeats = 0
  let isAway = true
  const unlessAway = () => isAway ? Promise.reject(new ServiceFailure('STORE_UNAVAILABLE', 'away')) : Promise.resolve()
  const [trials, trialsAway] = [{ append: 0, fail: 0 }, 3]
  const worker = open({
    // More than a lease between any two readings.
    monotonicNow: () => { clock += 100; return clock },
    runJob: {
      ...runJob,
      heartbeat: async lease => {
        heartbeats++
        await unlessAway()
        return await runJob.heartbeat(lease)
      },
      append: async (...args) => {
        await until(() => heartbeats > 1, 'a heartbeat that failed')
        isAway = ++trials.append <= trialsAway
        await unlessAway()
        return await runJob.append(...args)
      },
      fail: async (...args) => {
        if (trials.fail === 0) heartbeats = 0
        isAway = ++trials.fail <= trialsAway
        if (isAway) await until(() => heartbeats > 1, 'a heartbeat that failed')
        await unlessAway()
        return await runJob.fail(...args)
      }
    }
  })
  t.teardown(() => worker.stop(0))
  worker.start()
  t.match(await reaches(await submit('slow', { ms: 1 }, { maxAttempts: 1 }), 'succeeded'), { attempt: 1 })
  t.match(await reaches(await submit('refuse', {}, { maxAttempts: 1 }), 'failed'), { failure: { code: 'REFUSED' } })
  t.ok(trials.append > trialsAway && trials.fail > trialsAway)
})

const another = {
  leaseToken: 'another',
  leaseHolder: 'another',
  leaseMs: 60_000,
  leaseExpiresAt: startedAt + 60_000,
  deadlineAt: null
}

t.test('a run that lost its lease ends and reports nothing', async t => {
  const { worker, submit, reaches, transact, findItem } = await setUp(t, { leaseMs: 150, now: frozen })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  await transact(tx => setLease(tx, jobId, another))
  // With one slot, another job runs only once the first run has ended.
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.match(await findItem(jobId), another)
})

t.test('a run that learns at its end that it lost its lease is no error of the worker', async t => {
  const { worker, submit, reaches, transact, findItem, errors } = await setUp(t, { leaseMs: 3_600_000, now: frozen })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  await transact(tx => setLease(tx, jobId, another))
  worker.cancel(jobId)
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.match(await findItem(jobId), another)
  t.same(errors, [])
})

t.test('a worker that stops returns its runs to the queue at once, and no attempt is lost', async t => {
  const { worker, submit, reaches, read, open } = await setUp(t)
  worker.start()
  const jobId = await submit('stall', {}, { maxAttempts: 1 })
  await reaches(jobId, 'running')
  await worker.stop(0)
  t.match(await read(jobId), { status: 'queued', attempt: 0 })
  const next = open()
  next.start()
  t.match(await reaches(jobId, 'running'), { attempt: 1 })
  await next.stop(0)
})

t.test('runs that a worker abandons are released by the next one, and no attempt is lost', async t => {
  const { worker, open, claimJob, runJob, submit, reaches, read, findItem, errors } = await setUp(t)
  const ended = await submit('stall', {}, { maxAttempts: 1 })
  const lost = await claimJob({ types, tenant: null }, 'embedded:lost', 60_000)
  await runJob.fail(lost as Claim, { code: 'X', message: 'x' }, false)
  worker.start()
  const jobId = await submit('stall', {}, { maxAttempts: 1 })
  await reaches(jobId, 'running')
  const claims = worker.abandon()
  t.match(claims, [{ jobId }])
  await worker.stop(0)
  t.equal((await read(jobId)).status, 'running', 'it reports nothing')
  let isAway = true
  const next = open({
    abandoned: [lost as Claim, ...claims],
    types: ['echo'],
    runJob: {
      ...runJob,
      release: claim => {
        if (!isAway) return runJob.release(claim)
        isAway = false
        return Promise.reject(new ServiceFailure('STORE_UNAVAILABLE', 'away'))
      }
    }
  })
  t.teardown(() => next.stop(0))
  next.start()
  next.wake()
  t.match(await reaches(jobId, 'queued'), { attempt: 0 })
  t.equal((await findItem(jobId))?.leaseToken, null)
  t.equal((await read(ended)).status, 'failed', 'a job whose end was recorded stays as it is')
  t.equal(errors.length, 1)
})

t.test('runs as many jobs at once as there are slots', async t => {
  const { worker, submit, reaches, read } = await setUp(t, { slots: 2 })
  worker.start()
  const jobs = [await submit('stall', {}), await submit('stall', {}), await submit('stall', {})]
  await Promise.all(jobs.slice(0, 2).map(jobId => reaches(jobId, 'running')))
  t.match(await read(jobs[2] ?? ''), { status: 'queued' })
})

t.test('a failed claim is reported and retried', async t => {
  const { open, claimJob, submit, reaches, errors } = await setUp(t)
  let failures = 1
  const worker = open({ claimJob: (...args) => failures-- > 0 ? Promise.reject(new Error('busy')) : claimJob(...args) })
  t.teardown(() => worker.stop(0))
  const jobId = await submit('echo', { text: '1' })
  worker.start()
  await reaches(jobId, 'succeeded')
  t.match(errors, [{ message: 'busy' }])
})

t.test('rescues the jobs of a worker that has ended, and leaves those of others alone', async t => {
  const { claimJob, rescueJobs, worker, submit, reaches, read } = await setUp(t)
  const held = await submit('echo', { text: '1' })
  t.match(await claimJob({ types, tenant: null }, 'embedded:other', 60_000), { jobId: held })
  const jobId = await submit('echo', { text: '1' })
  t.match(await claimJob({ types, tenant: null }, 'embedded:old', 60_000), { jobId })
  t.equal(await rescueJobs(), 0, 'its lease has not expired')
  worker.start()
  t.match(await reaches(jobId, 'succeeded'), { attempt: 2 })
  t.match(await read(held), { status: 'running', attempt: 1 })
})

t.test('a cancelled run stops at once and frees its slot', async t => {
  const { worker, submit, reaches, cancel, findItem, errors } = await setUp(t, { leaseMs: 3_600_000 })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  t.equal(await cancel(jobId), 'asked')
  t.match(await reaches(jobId, 'cancelled'), {
    failure: { code: 'JOB_CANCELLED' }, isTerminal: true, isSuccess: false, cancelRequested: true, attempt: 1
  })
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.equal(await findItem(jobId), undefined)
  t.same(errors, [], 'a cancellation is not an error of the worker')
})

t.test('a cancellation that another process accepted reaches the run with its next heartbeat', async t => {
  const { worker, submit, reaches, store, cache, epoch } = await setUp(t, { leaseMs: 300, now: frozen })
  worker.start()
  const jobId = await submit('stall', {})
  await reaches(jobId, 'running')
  const { cancelJob: elsewhere } = createParts(store, { cache, epoch, now: frozen, graceMs: 3_600_000 })
  await elsewhere(jobId, () => true)
  t.match(await reaches(jobId, 'cancelled'), { attempt: 1 })
})

t.test('a cancellation that another process accepted reaches the run with its next progress report', async t => {
  const { open, worker: idle, runJob, submit, reaches, store, cache, epoch } = await setUp(t, { leaseMs: 3_600_000 })
  await idle.stop(0)
  const { cancelJob: elsewhere } = createParts(store, { cache, epoch, now: frozen, graceMs: 3_600_000 })
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

t.test('a cancelled queued job never runs', async t => {
  const { worker, submit, reaches, cancel, read } = await setUp(t)
  const jobId = await submit('echo', { text: '1' })
  t.equal(await cancel(jobId), 'cancelled')
  worker.start()
  await reaches(await submit('echo', { text: '1' }), 'succeeded')
  t.match(await read(jobId), { status: 'cancelled', attempt: 0, startedAt: null })
})

t.test('a job that ended before its cancellation keeps its state', async t => {
  const { worker, submit, reaches, cancel, read } = await setUp(t)
  worker.start()
  const jobId = await submit('echo', { text: '1' })
  await reaches(jobId, 'succeeded')
  t.equal(await cancel(jobId), 'finished')
  worker.cancel(jobId)
  t.match(await read(jobId), { status: 'succeeded' })
})

t.test('raw bytes reach the processor whole and in order, and its counts are recorded', async t => {
  const { worker, submit, storeInput, reaches, database, transact, prune } = await setUp(t)
  const bytes = Buffer.from('0123456789'.repeat(60_000))
  const raw = await storeInput((async function * () { yield bytes })(), 'text/plain', bytes.length)
  const jobId = await submit('measure', { unit: 'byte' }, {}, raw)
  worker.start()
  const data = await reaches(jobId, 'succeeded')
  t.match(data, {
    result: { unit: 'byte', sizeBytes: 600_000, sha256: raw.sha256 }, progress: { message: 'measured 600000' }
  })
  const events = await transact(tx => tx.selectFrom('SanitizationEvent').selectAll().execute())
  t.match(events, [{ jobId, kind: 'byte', count: 600_000 }])
  t.ok(Number.isInteger(Date.parse(events[0]?.at ?? '')))
  const input = createInputReader({ database })
  t.equal((await Array.fromAsync(input.read(raw))).length, 3)
  await prune()
  t.equal((await Array.fromAsync(input.read(raw))).length, 3, 'the input of a finished job is kept')
})

t.test('a job with raw bytes fails with INVALID_INPUT if its processor takes none', async t => {
  const { worker, submit, storeInput, reaches } = await setUp(t)
  const raw = await storeInput((async function * () { yield Buffer.from('x') })(), 'text/plain', 1)
  worker.start()
  t.match(await reaches(await submit('echo', { text: '1' }, {}, raw), 'failed'), {
    failure: { code: 'INVALID_INPUT' }, attempt: 1
  })
})

t.test('a partial result is visible while its run goes on', async t => {
  const { worker, submit, reaches, database, cancel, read } = await setUp(t)
  const results = createResultReader({ database })
  worker.start()
  const jobId = await submit('half', {})
  await until(async () => (await read(jobId)).partialResultAvailable === true, 'the first bytes')
  t.match(await read(jobId), { status: 'running', resultAvailable: false })
  t.same(await results.findPartial(jobId), {
    attempt: 1, run: 1, sizeBytes: 65_536, contentType: 'text/csv', fileName: 'half.csv'
  })
  await cancel(jobId)
  t.match(await reaches(jobId, 'cancelled'), { partialResultAvailable: false })
})
