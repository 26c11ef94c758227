import { join } from 'node:path'
import t from 'tap'
import { ServiceFailure } from '../../../src/errors.ts'
import { createQueueReader } from '../../../src/store/sqlite/readers/queue-reader.ts'
import { createClaimJob } from '../../../src/write/runs/claim-job.ts'
import { createCommit } from '../../../src/write/commit.ts'
import { turnsDuring } from '../../helpers/turns.ts'
import { until } from '../../helpers/until.ts'
import { alice, always, appended, csv, graceMs, leaseMs, openCommands, reports } from '../commands.ts'

const bob = { subject: 'bob', tenant: 'other', allTenants: false }

t.test('a worker of a tenant claims jobs of its tenant alone', async t => {
  const { submit, claimJob } = await openCommands(t)
  const theirs = await submit({}, bob)
  const ours = await submit()
  const claim = async (tenant: string | null) => (await claimJob({ types: ['report'], tenant }, 'w', leaseMs))?.jobId
  t.same([await claim('acme'), await claim('acme'), await claim('third'), await claim(null)], [
    ours, undefined, undefined, theirs
  ])
})

t.test('a job that another program gave to another tenant is claimed by workers of that tenant', async t => {
  const { submit, claimJob, sql } = await openCommands(t)
  const [moved, freed] = [await submit(), await submit()]
  sql(
    `UPDATE JobExecutionLog SET tenant = 'other' WHERE jobId = '${moved}'; UPDATE JobExecutionLog SET tenant = NULL WHERE jobId = '${freed}'`
  )
  const claim = async (tenant: string | null) => (await claimJob({ types: ['report'], tenant }, 'w', leaseMs))?.jobId
  t.equal(await claim('acme'), undefined)
  t.equal(await claim('other'), moved)
  t.equal(await claim('other'), undefined)
  t.equal(await claim(null), freed, 'a job without a tenant is for workers that see all tenants')
})

t.test('claims the job that has waited longest, so that no type starves another', async t => {
  const { submit, claimJob, runJob, clock } = await openCommands(t)
  const order: string[] = []
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 5; n++) order.push(await submit())
    clock.ms += 1
    order.push(await submit({ type: 'sanitize' }))
    clock.ms += 1
  }
  const claimed: string[] = []
  for (const _ of order) {
    const claim = await claimJob({ types: ['report', 'sanitize'], tenant: null }, 'w', leaseMs)
    if (claim === null) break
    claimed.push(claim.jobId)
    await runJob.complete(claim, appended(0))
  }
  t.same(claimed, order)
})

t.test('releases a claim that could not be exposed: no worker knows its lease', async t => {
  const { submit, claimJob, runJob: { release }, transact, database, clock, job } = await openCommands(t)
  const away = new ServiceFailure('STORE_UNAVAILABLE', 'away')
  const claimInVain = createClaimJob({
    commit: createCommit({
      transact,
      expose: () => Promise.reject(away),
      onTransition: () => { t.fail('the claim is not reported') }
    }),
    now: () => clock.ms,
    queue: createQueueReader({ database }),
    randomId: () => 'lost',
    release
  })
  const jobId = await submit({ maxAttempts: 1 })
  await t.rejects(claimInVain(reports, 'w', leaseMs), away)
  await until(async () => (await job(jobId)).state === 'queued', 'the job to be back')
  t.match(await claimJob(reports, 'w', leaseMs), { jobId })
})

t.test('asks whether a job is available unless the last claim of the kind has found one', async t => {
  const { submit, commit, runJob: { release }, database, clock } = await openCommands(t)
  const reader = createQueueReader({ database })
  const asked: string[] = []
  const hasAvailable: typeof reader.hasAvailable = async (filter, now) => {
    asked.push(filter.types.join())
    return await reader.hasAvailable(filter, now)
  }
  let ids = 0
  const claim = createClaimJob({
    commit, now: () => clock.ms, queue: { ...reader, hasAvailable }, randomId: () => `l-${++ids}`, release
  })
  const next = async (type = 'report') => (await claim({ types: [type], tenant: null }, 'w', leaseMs))?.jobId
  const jobs = [await submit(), await submit()]
  t.same([await next(), await next()], jobs)
  t.same(asked, ['report'])
  t.same([await next(), await next('sanitize')], [undefined, undefined])
  t.same(asked, ['report', 'sanitize'])
  t.equal(await next(), undefined)
  t.same(asked, ['report', 'sanitize', 'report'])
})

t.test('removes the bytes of an earlier run in several transactions before the next run', async t => {
  const { submit, claim, runJob, clock, count, results, job } = await openCommands(t)
  const jobId = await submit()
  const first = await claim()
  for (let offset = 0; offset < 70; offset++) await runJob.append(first, offset, Buffer.from('x'), csv)
  await runJob.fail(first, { code: 'E', message: 'no luck' }, true)
  t.match(await job(jobId), { state: 'queued' })
  t.equal(count('JobResultChunk'), 70, 'the end of a run does not remove them')
  t.equal(await results.findPartial(jobId), undefined, 'but no client sees them')
  clock.ms += 1000
  const second = await claim()
  t.equal(count('JobResultChunk'), 0)
  t.match(await job(jobId), { hasPartialResult: false })
  t.match(await results.findPartial(jobId), { attempt: 2, sizeBytes: 0, contentType: null })
  await runJob.append(second, 0, Buffer.from('new'), csv)
  t.match(await results.findPartial(jobId), { sizeBytes: 3, contentType: 'text/csv' })
  t.match(await job(jobId), { hasPartialResult: true })
})

t.test('ten workers in two processes claim each job exactly once', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const sides = [await openCommands(t, path), await openCommands(t, path)]
  const [one] = sides
  if (one === undefined) throw new Error('no side')
  const jobIds: string[] = []
  for (let job = 0; job < 40; job++) jobIds.push(await one.submit())
  const claimed = await Promise.all(Array.from({ length: 10 }, async (_, worker) => {
    const { claimJob, runJob } = sides[worker % 2] ?? one
    const mine: string[] = []
    for (let claim = await claimJob(reports, `w${worker}`, leaseMs); claim !== null; claim = await claimJob(
      reports, `w${worker}`, leaseMs
    )) {
      mine.push(claim.jobId)
      await runJob.complete(claim, appended(0))
    }
    return mine
  }))
  t.same(claimed.flat().toSorted(), jobIds.toSorted())
})

t.test('ends a run that exceeds its timeout, even if its worker sends heartbeats', async t => {
  const { submit, claim, claimJob, runJob, rescueJobs, clock, job } = await openCommands(t)
  const jobId = await submit({ timeoutSeconds: 45, maxAttempts: 2 })
  const first = await claim()
  clock.ms += 25_000
  await runJob.heartbeat(first)
  clock.ms += 20_000 - 1
  t.equal(await rescueJobs(), 0)
  clock.ms += 1
  t.equal(await rescueJobs(), 1)
  t.match(await job(jobId), { state: 'queued' })
  await t.rejects(runJob.heartbeat(first), { name: 'LeaseLost' })
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  clock.ms += 1000
  const second = await claim()
  clock.ms += 29_000
  await runJob.heartbeat(second)
  clock.ms += 16_000
  t.equal(await rescueJobs(), 1)
  t.match(await job(jobId), { state: 'failed', failure: { code: 'TIMEOUT' }, attempt: 2 })
})

t.test('ends a run that does not stop within the grace time, and rejects its worker', async t => {
  const { submit, claim, runJob, cancelJob, rescueJobs, clock, job, count } = await openCommands(t)
  const jobId = await submit()
  const claimed = await claim()
  await runJob.append(claimed, 0, Buffer.from('half'), csv)
  t.equal((await cancelJob(jobId, always)).outcome, 'asked')
  for (let ms = 0; ms < graceMs; ms += 20_000) {
    t.equal(await rescueJobs(), 0)
    t.match(await runJob.heartbeat(claimed), { cancelRequested: true })
    clock.ms += 20_000
  }
  t.equal(await rescueJobs(), 1)
  t.match(await job(jobId), { state: 'cancelled', failure: { code: 'JOB_CANCELLED' }, finishedAt: clock.ms })
  await t.rejects(runJob.complete(claimed, appended(4)), { name: 'LeaseLost' })
  t.same([count('JobQueue'), count('OrphanedBytes')], [0, 1], 'and its bytes are left to the pruner')
})

t.test('does not run a job again whose cancellation was requested and whose lease ran out', async t => {
  const { submit, claim, cancelJob, rescueJobs, clock, job } = await openCommands(t)
  const jobId = await submit({ maxAttempts: 9 })
  await claim()
  await cancelJob(jobId, always)
  clock.ms += leaseMs
  t.equal(await rescueJobs(), 1)
  t.match(await job(jobId), { state: 'cancelled' })
})

t.test('leaves the bytes of a job that another program finished to the pruner', async t => {
  const { submit, claim, runJob, rescueJobs, sql, clock, count } = await openCommands(t)
  const jobId = await submit()
  await runJob.append(await claim(), 0, Buffer.from('half'), csv)
  sql("UPDATE JobExecutionLog SET status = 'Succeeded', resultUrl = 'https://x.example/r'")
  clock.ms += leaseMs
  t.equal(await rescueJobs(), 0)
  t.same([count('JobQueue'), count(`OrphanedBytes WHERE id = '${jobId}'`)], [0, 1])
})

t.test('a claim carries the access of its submitter and the raw input', async t => {
  const { submit, claim } = await openCommands(t)
  await submit({ input: 1 }, { ...alice, allTenants: true })
  const claimed = await claim()
  t.same(JSON.parse(claimed.access), { tenant: 'acme', allTenants: true })
  t.equal(claimed.raw, null)
})

t.test('the event loop turns while a claim skips many jobs that another program ended', async t => {
  const { claimJob, submit, sql, count } = await openCommands(t)
  for (let i = 0; i < 60; i++) await submit()
  sql("UPDATE JobExecutionLog SET status = 'Failed'")
  const left = await submit()
  let claimed: string | undefined
  const turns = await turnsDuring(
    async () => { claimed = (await claimJob({ types: ['report'], tenant: null }, 'w', leaseMs))?.jobId }
  )
  t.equal(claimed, left)
  t.equal(count('JobQueue'), 1, 'the next claim does not meet them again')
  t.ok(turns >= 6, `${turns} turns`)
})

t.test('the event loop turns while the bytes of an earlier attempt are removed', async t => {
  const { submit, claim, claimJob, runJob, clock, count } = await openCommands(t)
  await submit()
  const lease = await claim()
  for (let i = 0; i < 100; i++) await runJob.append(lease, i, Buffer.from('x'), csv)
  await runJob.fail(lease, { code: 'X', message: 'x' }, true)
  clock.ms += 60_000
  let attempt: number | undefined
  const turns = await turnsDuring(
    async () => { attempt = (await claimJob({ types: ['report'], tenant: null }, 'w', leaseMs))?.attempt }
  )
  t.equal(attempt, 2)
  t.equal(count('JobResultChunk'), 0)
  t.ok(turns >= 6, `${turns} turns`)
})
