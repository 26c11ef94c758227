import { randomUUID } from 'node:crypto'
import { type Job, Queue, UnrecoverableError, Worker } from 'bullmq'
import t, { type Test } from 'tap'
import { startPostgres } from '../../test/helpers/postgres.ts'
import { startRedis } from '../../test/helpers/redis.ts'
import { startService } from '../../test/helpers/service.ts'
import { until } from '../../test/helpers/until.ts'
import { type MirrorOptions, startMirror } from './mirror.ts'
import { toJobId, toRowId } from './rows.ts'
import { openTable, type Table } from './table.ts'

/*
 * The recipe with a real BullMQ, a real Redis and the service on both of its databases.
 */

/** A service, a queue with a worker whose jobs do what their data say, and a way to run a mirror. */
const startWorld = async (t: Test, databaseUrl?: string) => {
  const database = databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl }
  const service = await startService(t, { WORKERS: '0', ...database })
  const redis = await startRedis(t)
  const connection = { url: redis.url, maxRetriesPerRequest: null }
  const name = 'a queue.1'
  const queue = new Queue(name, { connection })
  const opened = await openTable(databaseUrl ?? `sqlite:${service.databasePath}`)
  const written = new Map<string, string[]>()
  const table: Table = {
    ...opened,
    write: async row => {
      written.set(row.jobId, [...written.get(row.jobId) ?? [], row.status])
      return await opened.write(row)
    }
  }
  const gates = new Map<string, { proceed: () => void }>()
  const worker = new Worker(name, async (job: Job<{ then?: string }>) => {
    const { then = 'end' } = job.data
    if (then === 'wait') {
      await job.updateProgress(40)
      await new Promise<void>(resolve => gates.set(String(job.id), { proceed: resolve }))
    }
    if (then === 'fail at first' && job.attemptsMade === 0) throw new Error('at first')
    if (then === 'fail') throw new UnrecoverableError('no such thing')
    return { url: 'https://files.example.org/1' }
  }, { connection, concurrency: 10, autorun: false })
  worker.on('error', () => {})
  const errors: string[] = []
  const mirror = async (more: Partial<MirrorOptions> = {}) => {
    const started = await startMirror({
      queue: name, connection, table, onError: error => { errors.push(String(error)) }, ...more
    })
    t.teardown(started.close)
    return started
  }
  t.teardown(async () => {
    for (const { proceed } of gates.values()) proceed()
    await worker.close(true)
    await queue.close()
    await table.close()
  })
  return {
    service,
    redis,
    queue,
    gates,
    errors,
    /** The statuses that were written for a job, in turn, each once. */
    written: (jobId: string) =>
      (written.get(toRowId(name, jobId)) ?? []).filter((status, at, all) => status !== all[at - 1]),
    mirror,
    work: () => { worker.run().catch(() => {}) },
    add: async (data: { then?: string }, options: Record<string, unknown> = {}) => {
      const jobId = randomUUID()
      await queue.add('send', data, { jobId, ...options })
      return jobId
    },
    taskOf: async (jobId: string) => (await service.askJson(`/api/jobs/${toRowId(name, jobId)}/status`)).data,
    // What other programs write shows within a second.
    isGone: async (jobId: string) =>
      await until(async () => (await service.ask(`/api/jobs/${toRowId(name, jobId)}/status`)).status === 410),
    statusOf: async (jobId: string, status: string) => await until(async () => {
      const { data } = await service.askJson(`/api/jobs/${toRowId(name, jobId)}/status`)
      return data?.status === status && data
    }, `${jobId} ${status}`)
  }
}

const stories = (t: Test, open: (t: Test) => ReturnType<typeof startWorld>): void => {
  t.test('shows jobs from their addition to their end', async t => {
    const { add, statusOf, taskOf, work, gates, mirror, queue } = await open(t)
    await mirror({ resultUrl: (_, value) => (value as { url: string }).url })
    const waiting = await add({})
    t.match(await statusOf(waiting, 'queued'), { type: 'send', resultUrl: null })
    const later = await add({}, { delay: 3_600_000 })
    await statusOf(later, 'queued')
    work()
    t.match(await statusOf(waiting, 'succeeded'), { resultUrl: 'https://files.example.org/1', failure: null })
    const failure = { code: 'FAILED', message: 'no such thing' }
    t.match(await statusOf(await add({ then: 'fail' }), 'failed'), { failure })
    await statusOf(await add({ then: 'fail at first' }, { attempts: 2 }), 'succeeded')
    // BullMQ removes these when they end.
    t.match(await statusOf(await add({}, { removeOnComplete: true }), 'succeeded'), { type: 'send' })
    t.match(await statusOf(await add({ then: 'fail' }, { removeOnFail: true }), 'failed'), { type: 'send', failure })
    const running = await add({ then: 'wait' })
    await until(() => gates.has(running))
    await until(async () => {
      const { status, progress } = await taskOf(running)
      return status === 'running' && progress.percent === 40
    }, 'the progress of the job')
    gates.get(running)?.proceed()
    await statusOf(running, 'succeeded')
    await queue.remove(later)
  })

  t.test('a mirror that was away shows what has become of each job, and never an earlier state', async t => {
    const { redis, queue, add, isGone, statusOf, work, gates, mirror, errors, written } = await open(t)
    const first = await mirror()
    const before = {
      ended: await add({}),
      removed: await add({}),
      drained: await add({}),
      waiting: await add({}, { delay: 3_600_000 })
    }
    for (const id of Object.values(before)) await statusOf(id, 'queued')
    await first.close()
    await queue.remove(before.removed)
    await queue.remove(before.drained)
    // As drain() leaves it: no event says that the job was removed.
    await redis.client.xtrim(queue.toKey('events'), 'MAXLEN', 0)
    work()
    const meanwhile = { ended: await add({}, { removeOnComplete: true }), running: await add({ then: 'wait' }) }
    const removedAtEnd = await add({ then: 'wait' }, { removeOnComplete: true })
    await until(() => gates.has(removedAtEnd) && gates.has(meanwhile.running))
    await until(async () => await queue.getJobState(before.ended) === 'completed')
    await until(async () => await queue.getJobState(meanwhile.ended) === 'unknown')
    const second = await mirror()
    await statusOf(before.ended, 'succeeded')
    await statusOf(before.waiting, 'queued')
    await isGone(before.removed)
    await isGone(before.drained)
    t.match(await statusOf(meanwhile.ended, 'succeeded'), { type: 'send' }, 'its events are left')
    await statusOf(meanwhile.running, 'running')
    await statusOf(removedAtEnd, 'running')
    await second.close()
    gates.get(removedAtEnd)?.proceed()
    await until(async () => await queue.getJobState(removedAtEnd) === 'unknown')
    await mirror()
    await statusOf(removedAtEnd, 'succeeded')
    t.same(written(removedAtEnd), ['Running', 'Succeeded'])
    t.same(written(before.ended), ['Queued', 'Succeeded'])
    t.same(written(meanwhile.ended), ['Succeeded'], 'its older events bring back no earlier state')
    t.same(errors, [])
  })

  t.test('drained jobs are gone after a sweep; a job that is added or shown twice is one', async t => {
    const { service, queue, add, isGone, taskOf, statusOf, work, mirror, errors } = await open(t)
    const [first] = [await mirror(), await mirror()]
    const drained = await add({})
    await statusOf(drained, 'queued')
    await queue.drain()
    await first?.sweep()
    await isGone(drained)
    const jobId = await add({})
    await statusOf(jobId, 'queued')
    await queue.add('other', {}, { jobId })
    work()
    t.match(await statusOf(jobId, 'succeeded'), { type: 'send' })
    const { version } = await taskOf(jobId)
    await queue.add('other', {}, { jobId })
    await first?.sweep()
    t.equal((await taskOf(jobId)).version, version, 'nothing was written')
    t.equal((await service.askJson('/api/jobs')).data.items.length, 1)
    t.same(errors, [])
  })

  t.test('an end stays when an id is used again, and the mirror says so', async t => {
    const { queue, add, statusOf, work, mirror, errors } = await open(t)
    const started = await mirror()
    work()
    const jobId = await add({ then: 'fail' })
    await statusOf(jobId, 'failed')
    await queue.remove(jobId)
    await queue.add('send', {}, { jobId })
    await until(async () => await queue.getJobState(jobId) === 'completed')
    await started.sweep()
    await statusOf(jobId, 'failed')
    t.match(errors.join('\n'), /but has ended as Failed and stays so/)
  })

  t.test('goes on after an outage of Redis', async t => {
    const { redis, add, statusOf, queue, mirror } = await open(t)
    const started = await mirror()
    await statusOf(await add({}), 'queued')
    await redis.kill()
    await redis.restart()
    await queue.waitUntilReady()
    const after = await add({})
    await statusOf(after, 'queued')
    await started.sweep()
  })
}

t.test('on SQLite', t => {
  stories(t, t => startWorld(t))
  t.test('a locked database delays and loses nothing', async t => {
    const { service, add, statusOf, work, mirror, errors } = await startWorld(t)
    await mirror()
    work()
    const { DatabaseSync } = await import('node:sqlite')
    const other = new DatabaseSync(service.databasePath)
    other.exec('BEGIN IMMEDIATE')
    const jobId = await add({}, { removeOnComplete: true })
    await until(() => errors.length > 0, 'a write that failed')
    other.exec('COMMIT')
    other.close()
    await statusOf(jobId, 'succeeded')
    t.match(errors[0], /locked/)
  })
  t.end()
})

t.test('on Postgres', async t => {
  const postgres = await startPostgres(t)
  stories(t, async t => await startWorld(t, await postgres.createDatabase(t)))
})

t.test('ids of rows are those of jobs, in the characters of the service', t => {
  for (const [queue, id] of [['a queue.1', 'x y~z.ä'], ['q', '1'], ['q.1', '2'], ['q', '1.2']] as const) {
    const row = toRowId(queue, id)
    t.match(row, /^[A-Za-z0-9._~-]{1,128}$/)
    t.equal(toJobId(queue, row), id)
  }
  t.not(toRowId('q.1', '2'), toRowId('q', '1.2'))
  t.throws(() => toRowId('q', 'x'.repeat(200)), /too long/)
  t.end()
})
