import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { createWorkerClient, jsonOf, workerClaims, type Client } from '../helpers/client.ts'
import { openForeign } from '../store/open.ts'
import { spawnService, startService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'

const submit = async ({ askJson }: Client, submission: object): Promise<string> =>
  (await askJson('/api/v1/jobs', { method: 'POST', body: { input: null, ...submission } })).jobId

const failure = { error: { code: 'E_NET', message: 'unreachable' } }

t.test('twenty workers never hold one job, and every job is done once, though some workers die', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const types = ['a', 'b', 'c']
  const jobCount = 120
  const runs: string[] = []
  const done: string[] = []
  let deaths = 5
  const stop = new AbortController()
  const work = async (name: number) => {
    const { claim, report } = createWorkerClient(service, { ...workerClaims, sub: `worker-${name}`, tenant: 'tester' })
    while (!stop.signal.aborted) {
      const dies = deaths > 0
      const answer = await claim({ types: types.slice(name % 2), wait: 1, leaseSeconds: dies ? 1 : 600 })
      if (answer.status === 204) continue
      const { jobId, leaseToken, attempt } = await jsonOf(answer)
      runs.push(`${jobId} ${attempt}`)
      if (dies) {
        deaths--
        continue
      }
      await report(jobId, 'progress', leaseToken, { percent: 50 })
      const completed = await report(jobId, 'complete', leaseToken, { result: name })
      if (completed.status === 200) done.push(jobId)
    }
  }
  const workers = Array.from({ length: 20 }, (_, name) => work(name))
  const jobIds = await Promise.all(
    Array.from({ length: jobCount }, (_, at) => submit(service, { type: types[at % 3], maxAttempts: 100 }))
  )
  await until(() => done.length >= jobCount, 'the end of all jobs', 60_000)
  stop.abort()
  await Promise.all(workers)
  t.same(done.toSorted(), jobIds.toSorted(), 'each is completed once')
  t.equal(new Set(runs).size, runs.length, 'no attempt was given to two')
  t.equal(await service.sql("SELECT count(*) FROM JobExecutionLog WHERE status = 'Succeeded'"), String(jobCount))
  t.equal(await service.sql('SELECT count(*) FROM JobQueue'), '0')
  t.ok(Number(await service.sql('SELECT max(attempt) FROM JobExecutionLog')) > 1, 'what the dead held was run again')
  t.same(service.logs.filter(line => line.level >= 50), [])
})

t.test('the oldest comes first, and no type waits for another', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { claimed } = createWorkerClient(service)
  const order: string[] = []
  for (const type of ['flood', 'flood', 'rare', 'flood', 'flood', 'rare']) order.push(await submit(service, { type }))
  const given: string[] = []
  const types = ['flood', 'rare', 'unheard-of']
  for (let turn = 0; turn < order.length; turn++) {
    // A flood that never ends is behind what came before it.
    await submit(service, { type: 'flood' })
    given.push((await claimed('flood', { types: turn % 2 === 0 ? types : types.toReversed() })).jobId)
  }
  t.same(given, order)
  t.equal((await claimed('flood')).type, 'flood')
})

t.test('a failing job is tried again after a pause, until no attempt is left', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { claim, claimed, report } = createWorkerClient(service)
  const jobId = await submit(service, { type: 'flaky', maxAttempts: 3 })
  for (const [attempt, delayMs] of [[1, 1000], [2, 2000]] as const) {
    const { leaseToken } = await claimed('flaky')
    const before = Date.now()
    t.match(await jsonOf(report(jobId, 'fail', leaseToken, failure)), { status: 'Queued' })
    const availableAt = Number(await service.sql(`SELECT availableAt FROM JobQueue WHERE jobId = '${jobId}'`))
    t.ok(availableAt >= before + delayMs &&
      availableAt <= Date.now() + delayMs, `${delayMs} ms after attempt ${attempt}`)
    await service.sql(`UPDATE JobQueue SET availableAt = availableAt + 60000 WHERE jobId = '${jobId}'`)
    t.equal((await claim({ types: ['flaky'] })).status, 204, 'not yet')
    await service.sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${jobId}'`)
  }
  const { leaseToken, attempt } = await claimed('flaky')
  t.equal(attempt, 3)
  t.match(await jsonOf(report(jobId, 'fail', leaseToken, failure)), { status: 'Failed', errorDetails: failure.error })
})

t.test('a run that takes too long is ended, however alive its worker is', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { claimed, report } = createWorkerClient(service)
  const jobId = await submit(service, { type: 'slow', maxAttempts: 1, timeoutSeconds: 3600 })
  const { leaseToken } = await claimed('slow')
  t.equal((await report(jobId, 'progress', leaseToken)).status, 200)
  await service.sql(`UPDATE JobQueue SET deadlineAt = 1 WHERE jobId = '${jobId}'`)
  t.match(await service.finished(jobId), { status: 'Failed', errorDetails: { code: 'TIMEOUT' } })
  t.match(await jsonOf(report(jobId, 'complete', leaseToken)), { code: 'LEASE_LOST' })
})

t.test('a job whose last worker fell silent has failed', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { claimed } = createWorkerClient(service)
  const jobId = await submit(service, { type: 'silent', maxAttempts: 1 })
  await claimed('silent', { leaseSeconds: 1 })
  t.match(await service.finished(jobId), { status: 'Failed', errorDetails: { code: 'LEASE_EXPIRED' } })
})

t.test('every response reports the cancellation of a run; its outcome counts', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { claimed, report } = createWorkerClient(service)
  const begin = async () => {
    await submit(service, { type: 'work' })
    return await claimed('work')
  }
  const cancel = async (jobId: string) => {
    t.equal((await service.ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })).status, 202)
  }
  const noticing = await begin()
  t.match(await jsonOf(report(noticing.jobId, 'progress', noticing.leaseToken)), { cancelRequested: false })
  await cancel(noticing.jobId)
  for (const body of [undefined, {}, { percent: 5 }]) {
    t.match(await jsonOf(report(noticing.jobId, 'progress', noticing.leaseToken, body)), { cancelRequested: true })
  }
  t.match(await jsonOf(report(noticing.jobId, 'fail', noticing.leaseToken, failure)), {
    status: 'Failed', errorDetails: { code: 'JOB_CANCELLED' }
  })
  t.match(await service.askJson(`/api/jobs/${noticing.jobId}/status`), { data: { status: 'cancelled', attempt: 1 } })

  const faster = await begin()
  await cancel(faster.jobId)
  t.match(await jsonOf(report(faster.jobId, 'complete', faster.leaseToken, { result: 1 })), { status: 'Succeeded' })

  const deaf = await begin()
  await cancel(deaf.jobId)
  await service.sql(`UPDATE JobQueue SET cancelDueAt = 1 WHERE jobId = '${deaf.jobId}'`)
  t.match(await service.finished(deaf.jobId), { status: 'Failed', errorDetails: { code: 'JOB_CANCELLED' } })
  for (const command of ['progress', 'complete']) {
    t.match(await jsonOf(report(deaf.jobId, command, deaf.leaseToken)), { code: 'LEASE_LOST' }, command)
  }
})

t.test('a lease and what was uploaded under it outlive the process that gave it', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const first = await spawnService(t, { WORKERS: '0' }, path)
  const jobId = await submit(first, { type: 'work' })
  const { leaseToken } = await createWorkerClient(first).claimed('work', { leaseSeconds: 600 })
  const text = randomBytes(300_000).toString('hex')
  t.same(await jsonOf(createWorkerClient(first).upload(
    jobId, leaseToken, 0, text.slice(0, 400_000)
  )), { offset: 400_000, cancelRequested: false })
  await first.kill('SIGKILL')

  const second = await spawnService(t, { WORKERS: '0' }, path)
  const { claim, upload, report } = createWorkerClient(second)
  t.equal((await claim({ types: ['work'] })).status, 204)
  const { offset } = await jsonOf(upload(jobId, leaseToken, 0, ''))
  t.equal(offset, 400_000)
  t.same(await jsonOf(upload(jobId, leaseToken, offset, text.slice(offset))), {
    offset: text.length, cancelRequested: false
  })
  t.match(await jsonOf(report(jobId, 'complete', leaseToken)), { status: 'Succeeded' })
  t.equal(await (await second.ask(`/api/v1/jobs/${jobId}/result`)).text(), text)
})

t.test('a suspended service costs a worker nothing: it reads the waiting reports before it takes a lease', async t => {
  const service = await spawnService(t, { WORKERS: '0' })
  const { claimed, report } = createWorkerClient(service)
  const jobId = await submit(service, { type: 'work', maxAttempts: 1 })
  const { leaseToken } = await claimed('work', { leaseSeconds: 600 })
  // Short from the report on, so that it cannot end before the service is suspended.
  await service.sql('UPDATE JobQueue SET leaseMs = 2000')
  const { leaseExpiresAt } = await jsonOf(report(jobId, 'progress', leaseToken))
  service.process.kill('SIGSTOP')
  const overAt = Math.max(Date.parse(leaseExpiresAt), Date.now() + 1000)
  const waiting = report(jobId, 'progress', leaseToken, { percent: 50 })
  await until(() => Date.now() > overAt + 200, 'the end of the lease')
  service.process.kill('SIGCONT')
  t.equal((await waiting).status, 200)
  t.match(await service.finished(jobId), { errorDetails: { code: 'LEASE_EXPIRED' } }, 'a silent worker loses it')
})

t.test('another program that locks the database for longer than a lease costs a worker nothing', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const { claimed, report } = createWorkerClient(service)
  const hold = async () => {
    const jobId = await submit(service, { type: 'work', maxAttempts: 1 })
    return { jobId, leaseToken: (await claimed('work', { leaseSeconds: 600 })).leaseToken }
  }
  const [during, after] = [await hold(), await hold()]
  const foreign = openForeign(t, service.databasePath)
  foreign.exec('BEGIN IMMEDIATE')
  // The leases end while the database is locked, and not before.
  const endsAt = Date.now() + 1000
  foreign.exec(`UPDATE JobQueue SET leaseExpiresAt = ${endsAt}`)
  await until(() => Date.now() > endsAt + 600, 'a round of the rescuer after the end of the leases')
  const waiting = report(during.jobId, 'progress', during.leaseToken)
  await until(() => Date.now() > endsAt + 800, 'the report to wait for the lock')
  foreign.exec('COMMIT')
  t.equal((await waiting).status, 200)
  // The other worker reports only once the rescuer has seen its lease.
  const isCredited = async () =>
    await service.sql(`SELECT leaseExpiresAt FROM JobQueue WHERE jobId = '${after.jobId}'`) !== String(endsAt)
  await until(isCredited, 'a round of the rescuer after the lock')
  for (const { jobId, leaseToken } of [during, after]) {
    t.match(await jsonOf(report(jobId, 'complete', leaseToken)), { status: 'Succeeded' }, jobId)
  }
})
