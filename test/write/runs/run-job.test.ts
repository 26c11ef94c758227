import { join } from 'node:path'
import t from 'tap'
import { appended, csv, facts, leaseMs, openCommands, reports } from '../commands.ts'

t.test('claims jobs of the requested types, oldest first', async t => {
  const { claimJob, submit, clock } = await openCommands(t)
  const first = await submit()
  clock.ms += 1
  const other = await submit({ type: 'sanitize' })
  clock.ms += 1
  const third = await submit()
  const claim = async (...types: string[]) => (await claimJob({ types, tenant: null }, 'worker', leaseMs))?.jobId
  t.equal(await claim(), undefined)
  t.equal(await claim('unknown'), undefined)
  t.equal(await claim('sanitize'), other)
  t.equal(await claim('sanitize', 'report'), first)
  t.equal(await claim('sanitize', 'report'), third)
  t.equal(await claim('sanitize', 'report'), undefined)
})

t.test('a claim carries all that a worker needs', async t => {
  const { submit, claim, job, clock } = await openCommands(t)
  const jobId = await submit({ input: { from: '2026-01-01' }, timeoutSeconds: 90 })
  clock.ms += 5000
  const claimed = await claim()
  t.match(claimed, { jobId, type: 'report', attempt: 1, timeoutMs: 90_000, leaseExpiresAt: clock.ms + leaseMs })
  t.same(JSON.parse(claimed.input), { from: '2026-01-01' })
  t.same(JSON.parse(claimed.access), { tenant: 'acme', allTenants: false })
  t.match(await job(jobId), { state: 'running', attempt: 1, startedAt: clock.ms, createdAt: clock.ms - 5000 })
})

t.test('ten claims at once for five jobs get five jobs', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const [one, two] = [await openCommands(t, path), await openCommands(t, path)]
  const jobIds = [await one.submit(), await one.submit(), await one.submit(), await one.submit(), await one.submit()]
  const claims = await Promise.all(
    Array.from({ length: 10 }, (_, at) => (at % 2 === 0 ? one : two).claimJob(reports, `w${at}`, leaseMs))
  )
  const got = claims.filter(claim => claim !== null)
  t.same(got.map(claim => claim.jobId).toSorted(), jobIds.toSorted())
  for (const jobId of jobIds) t.match(await one.job(jobId), { state: 'running', attempt: 1 })
})

t.test('each claim counts an attempt, unless the run is released', async t => {
  const { submit, claim, rescueJobs, runJob, job, clock, store } = await openCommands(t)
  const jobId = await submit({ maxAttempts: 2 })
  for (let round = 0; round < 3; round++) {
    const claimed = await claim()
    t.equal(claimed.attempt, 1)
    await runJob.append(claimed, 0, Buffer.from('half'), csv)
    await runJob.release(claimed)
    t.match(await job(jobId), { state: 'queued', attempt: 0, progress: { percent: 0 } })
  }
  await claim()
  clock.ms += leaseMs
  await rescueJobs()
  clock.ms += 1000
  t.equal((await claim()).attempt, 2, 'the last one')
  const { attempts } = await store.jobs.findWithAttempts(jobId)
  t.same(attempts.map(({ attempt, outcome }) => [attempt, outcome]), [
    [1, 'released'], [1, 'released'], [1, 'released'], [1, 'lease-lost'], [2, null]
  ])
})

t.test('a reader of a released run gets no bytes of the next one, which has its number', async t => {
  const { submit, claim, runJob, results } = await openCommands(t)
  const jobId = await submit()
  const first = await claim()
  await runJob.append(first, 0, Buffer.from('abc'), csv)
  await runJob.append(first, 3, Buffer.from('def'), csv)
  const { run = 0 } = await results.findPartial(jobId) ?? {}
  const reading = results.read({ jobId, run }, 0, 6)
  t.equal(String((await reading.next()).value), 'abc')
  await runJob.release(first)
  const second = await claim()
  t.equal(second.attempt, first.attempt)
  await runJob.append(second, 0, Buffer.from('ABC'), csv)
  await runJob.append(second, 3, Buffer.from('DEF'), csv)
  await t.rejects(reading.next(), { name: 'ResultTorn' })
  t.match(await results.findPartial(jobId), { attempt: 1, run: run + 1 })
})

t.test('a heartbeat extends the lease without a new version', async t => {
  const { submit, claim, rescueJobs, runJob, job, clock, changeLog, exposed } = await openCommands(t)
  const jobId = await submit()
  const claimed = await claim()
  const before = [await job(jobId), changeLog.head(), exposed.length]
  for (let count = 0; count < 3; count += 1) {
    clock.ms += leaseMs - 1
    await runJob.heartbeat(claimed)
    t.equal(await rescueJobs(), 0)
  }
  t.same([await job(jobId), changeLog.head(), exposed.length], before)
  clock.ms += leaseMs
  t.equal(await rescueJobs(), 1, 'the last one counts')
})

t.test('progress makes a new version', async t => {
  const { submit, claim, runJob, job, clock } = await openCommands(t)
  const jobId = await submit()
  const claimed = await claim()
  const { version } = await job(jobId)
  clock.ms += 10_000
  await runJob.progress(claimed, { done: 1, total: 4, stage: 'reading' })
  t.match(await job(jobId), {
    version: version + 1, progress: { percent: 25, done: 1, total: 4, stage: 'reading', etaSeconds: 30 }
  })
  await runJob.progress(claimed, { percent: 10 })
  t.match(await job(jobId), { version: version + 1, progress: { percent: 25 } }, 'a lower one is ignored')
})

t.test('appended bytes become the result when the job completes', async t => {
  const { submit, claim, runJob, job, results, clock, count } = await openCommands(t)
  const jobId = await submit()
  const claimed = await claim()
  t.match(await runJob.append(claimed, 0, Buffer.from('abc'), csv), { sizeBytes: 3 })
  await t.rejects(runJob.append(claimed, 2, Buffer.from('x'), csv), { name: 'OffsetMismatch', offset: 3 })
  t.match(await runJob.append(claimed, 3, Buffer.from('de'), csv), { sizeBytes: 5 })
  await t.rejects(runJob.complete(claimed, appended(4)), { name: 'OffsetMismatch', offset: 5 })
  t.match(await job(jobId), { state: 'running' }, 'a result of another size is rejected, and the job goes on')

  clock.ms += 1000
  await runJob.complete(claimed, { ...appended(5), message: '2 rows' })
  t.match(await job(jobId), {
    state: 'succeeded',
    finishedAt: clock.ms,
    resultUrl: `/api/v1/jobs/${jobId}/result`,
    result: facts(5),
    progress: { percent: 100, message: '2 rows' }
  })
  t.equal(String(Buffer.concat(await Array.fromAsync(results.read({ jobId, sha256: 'c2hh' }, 0, 5)))), 'abcde')
  t.same([count('JobQueue'), count('JobInput')], [0, 1], 'its input is kept')
  const { version } = await job(jobId)
  t.match(await runJob.complete(claimed, appended(5)), { state: 'succeeded', version }, 'repeated, it changes nothing')
  await t.rejects(runJob.complete(claimed, { kind: 'external', url: 'https://x.example/' }), { name: 'LeaseLost' })
})

t.test('the bytes of a failed attempt are gone in the next', async t => {
  const { submit, claim, runJob, results, clock } = await openCommands(t)
  const jobId = await submit()
  const first = await claim()
  await runJob.append(first, 0, Buffer.from('half of '), csv)
  await runJob.fail(first, { code: 'E', message: 'no luck' }, true)
  clock.ms += 1000
  const second = await claim()
  t.match(await runJob.append(second, 0, Buffer.from('whole'), csv), { sizeBytes: 5 })
  await runJob.complete(second, appended(5))
  t.equal(String(Buffer.concat(await Array.fromAsync(results.read({ jobId, sha256: 'c2hh' }, 0, 5)))), 'whole')
})

t.test('retries a retryable failure after a growing delay, and fails at the last attempt', async t => {
  const { submit, claim, claimJob, runJob, job, clock, count } = await openCommands(t)
  const jobId = await submit()
  const failure = { code: 'E_NET', message: 'unreachable', detailsJson: '{"host":"x"}' }
  for (const delayMs of [1000, 2000]) {
    await runJob.fail(await claim(), failure, true)
    t.match(await job(jobId), { state: 'queued' })
    clock.ms += delayMs - 1
    t.equal(await claimJob(reports, 'worker', leaseMs), null, 'not yet')
    clock.ms += 1
  }
  await runJob.fail(await claim(), failure, true)
  t.match(await job(jobId), { state: 'failed', attempt: 3, failure, finishedAt: clock.ms })
  t.equal(count('JobQueue'), 0)
})

t.test('a failure that is not retryable ends the job', async t => {
  const { submit, claim, runJob, job } = await openCommands(t)
  const jobId = await submit()
  await runJob.fail(await claim(), { code: 'E_INPUT', message: 'bad' }, false)
  t.match(await job(jobId), { state: 'failed', attempt: 1, failure: { code: 'E_INPUT', message: 'bad' } })
})
