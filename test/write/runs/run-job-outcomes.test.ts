import t from 'tap'
import { pruneOrphans } from '../../../src/store/tx/retention.ts'
import { alice, always, appended, csv, facts, given, noResult, openCommands, resultRetentionMs } from '../commands.ts'

const bytesOf = async (chunks: AsyncIterable<Uint8Array>) => String(Buffer.concat(await Array.fromAsync(chunks)))

t.test('stores a result that is sent with the completion', async t => {
  const { submit, claim, runJob, job, results, count, clock } = await openCommands(t)
  const text = 'x'.repeat(600_000)
  const jobId = await submit()
  await runJob.complete(await claim(), given(text))
  t.match(await job(jobId), {
    state: 'succeeded',
    resultUrl: `/api/v1/jobs/${jobId}/result`,
    result: facts(600_000),
    expiresAt: clock.ms + resultRetentionMs
  })
  t.equal(await bytesOf(results.read({ jobId, sha256: 'c2hh' }, 0, 600_000)), text)
  t.equal(count('JobResultChunk'), 3)
  t.equal(count('JobResultChunk WHERE length(bytes) > 262144'), 0)
})

t.test('completes with an external result, or with none', async t => {
  const { submit, claim, runJob, job } = await openCommands(t)
  const elsewhere = await submit()
  await runJob.complete(await claim(), { kind: 'external', url: 'https://x.example/r', message: 'put there' })
  t.match(await job(elsewhere), {
    state: 'succeeded',
    resultUrl: 'https://x.example/r',
    result: null,
    expiresAt: null,
    progress: { message: 'put there' }
  })
  const none = await submit()
  await runJob.complete(await claim(), noResult)
  t.match(await job(none), { state: 'succeeded', resultUrl: null, result: null, expiresAt: null })
})

t.test('rejects another result if bytes were appended, so that neither is lost', async t => {
  const { submit, claim, runJob, job, results } = await openCommands(t)
  const jobId = await submit()
  const claimed = await claim()
  await runJob.append(claimed, 0, Buffer.from('abc'), csv)
  for (const outcome of [given('other'), { kind: 'external', url: 'https://x.example/r' } as const, noResult]) {
    await t.rejects(runJob.complete(claimed, outcome), { name: 'ResultBegun' }, outcome.kind)
    t.match(await job(jobId), { state: 'running' })
  }
  await runJob.complete(claimed, appended(3))
  t.equal(await bytesOf(results.read({ jobId, sha256: 'c2hh' }, 0, 3)), 'abc')
})

t.test('records sanitization counts with a successful completion, and removes them with the record', async t => {
  const { submit, claim, runJob, cancelJob, eraseJob, database, clock, count } = await openCommands(t)
  const jobId = await submit({ maxAttempts: 1 })
  await runJob.complete(await claim(), { ...given('x'), counts: { script: 2, iframe: 1, style: 0 } })
  t.same(database.reader.prepare('SELECT * FROM SanitizationEvent ORDER BY kind').all(), [
    { jobId, kind: 'iframe', count: 1, at: new Date(clock.ms).toISOString() },
    { jobId, kind: 'script', count: 2, at: new Date(clock.ms).toISOString() }
  ])
  await submit()
  await runJob.complete(await claim(), { ...given('x'), counts: {} })
  await submit()
  await runJob.complete(await claim(), given('x'))
  const rejected = await submit()
  const claimed = await claim()
  await t.rejects(runJob.complete(claimed, { ...appended(1), counts: { script: 1 } }), { name: 'OffsetMismatch' })
  await cancelJob(rejected, always)
  t.equal(count('SanitizationEvent'), 2)
  t.equal((await eraseJob(jobId, always)).outcome, 'erased')
  t.equal(count('SanitizationEvent'), 0)
})

t.test('keeps a result as long as the submitter asked, and at most as long as the service keeps results', async t => {
  const { submit, claim, runJob, job, clock } = await openCommands(t)
  const cases = [[60, 60_000], [1_000_000, resultRetentionMs], [undefined, resultRetentionMs]] as const
  for (const [retentionSeconds, keptMs] of cases) {
    const jobId = await submit(retentionSeconds === undefined ? {} : { retentionSeconds })
    await runJob.complete(await claim(), given('x'))
    t.match(await job(jobId), { expiresAt: clock.ms + keptMs })
  }
})

t.test('an expired result is removed, and its record stays and says so', async t => {
  const {
    submit, claim, runJob, job, expireResults, results, changeLog, clock, count, transitions, readStatus, transact
  } = await openCommands(t)
  const [short, long, elsewhere] = [await submit({ retentionSeconds: 60 }), await submit(), await submit()]
  await runJob.complete(await claim(), given('{"a":1}'))
  await runJob.complete(await claim(), given('long'))
  await runJob.complete(await claim(), { kind: 'external', url: 'https://x.example/r' })
  const version = changeLog.head() + 1
  t.match(await readStatus(short, 0), { hasResult: true })
  clock.ms += 60_000 - 1
  t.equal(await expireResults(10), 0)
  clock.ms += 1
  t.equal(await expireResults(10), 1)
  t.equal(await expireResults(10), 0)
  t.match(await job(short), {
    state: 'succeeded', result: null, resultUrl: `/api/v1/jobs/${short}/result`, resultExpiredAt: clock.ms, version
  })
  t.match(await readStatus(short, 0), { hasResult: false, version })
  t.same(transitions.at(-1), ['expire', 'succeeded'])
  await t.rejects(results.read({ jobId: short, sha256: 'c2hh' }, 0, 7)
    .next(), { name: 'ResultTorn' }, 'at once, though its bytes go later')
  t.equal(count('OrphanedBytes'), 1)
  while (await transact(tx => pruneOrphans(tx, clock.ms, 10)) > 0);
  t.equal(count('JobResultChunk'), 1)

  clock.ms += resultRetentionMs
  t.equal(await expireResults(10), 1)
  t.match(await job(long), { resultExpiredAt: clock.ms })
  t.match(
    await job(elsewhere), { resultExpiredAt: null, resultUrl: 'https://x.example/r' },
    'an external result is not ours to remove'
  )
})

t.test('expires at most as many results at a time as asked', async t => {
  const { submit, claim, runJob, expireResults, clock } = await openCommands(t)
  for (let job = 0; job < 5; job++) {
    await submit()
    await runJob.complete(await claim(), given('x'))
  }
  clock.ms += resultRetentionMs
  t.same([await expireResults(2), await expireResults(2), await expireResults(2), await expireResults(2)], [2, 2, 1, 0])
})

t.test('a result whose bytes were orphaned before, by an earlier record of the same id, does not stop the others', async t => {
  const { submit, claim, runJob, expireResults, sql, count, clock } = await openCommands(t)
  const jobId = await submit()
  await runJob.complete(await claim(), given('x'))
  // Some programs update a row by replacing it.
  sql(`REPLACE INTO JobExecutionLog (jobId, status, submittedBy, endTime, resultUrl, expiresAt)
    SELECT jobId, status, submittedBy, endTime, resultUrl, expiresAt FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  await submit({}, alice)
  await runJob.complete(await claim(), given('y'))
  clock.ms += resultRetentionMs
  t.equal(await expireResults(10), 2)
  t.equal(count('OrphanedBytes'), 2)
})
