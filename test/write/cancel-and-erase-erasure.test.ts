import t from 'tap'
import { pruneOrphans } from '../../src/store/tx/retention.ts'
import { always, appended, type Commands, csv, noResult, openCommands } from './commands.ts'

const ofAcme = (tenant: string | null) => tenant === 'acme'

const finish = async ({ submit, claim, runJob, storeInput }: Commands) => {
  const raw = await storeInput((async function * () { yield Buffer.from('the input') })(), 'text/plain', 9)
  const jobId = await submit({}, undefined, raw)
  const lease = await claim()
  await runJob.append(lease, 0, Buffer.from('abc'), csv)
  await runJob.complete(lease, { ...appended(3), counts: { script: 2 } })
  return jobId
}

const tables = [
  'JobExecutionLog', 'JobQueue', 'JobInput', 'JobInputChunk', 'JobResult', 'JobResultChunk', 'SanitizationEvent'
]

t.test('erases a finished job with its result, its input and its sanitization counts', async t => {
  const commands = await openCommands(t)
  const { eraseJob, count, transact, clock, store, readStatus } = commands
  const jobId = await finish(commands)
  t.same(tables.map(count), [1, 0, 1, 1, 1, 1, 1])
  const { version } = await readStatus(jobId, 0)
  const { outcome, entry } = await eraseJob(jobId, ofAcme)
  t.equal(outcome, 'erased')
  t.match(entry, { state: 'expired', tenant: 'acme', v1Body: '', taskBody: '' })
  t.ok(entry.version > version)
  t.match(await readStatus(jobId, 0), { state: 'expired' }, 'the cache has no older answer')
  t.match(await store.jobs.find(jobId), { kind: 'tombstone', tombstone: { tenant: 'acme' } })
  while (await transact(tx => pruneOrphans(tx, clock.ms, 32)) > 0);
  t.same(tables.map(count), [0, 0, 0, 0, 0, 0, 0])
  t.equal((await eraseJob(jobId, ofAcme)).outcome, 'forbidden', 'a second time there is no such job')
})

t.test('erases failed and cancelled jobs, and no unfinished one', async t => {
  const { submit, claim, runJob, cancelJob, eraseJob, store } = await openCommands(t)
  const failed = await submit()
  await runJob.fail(await claim(), { code: 'E', message: 'm' }, false)
  t.equal((await eraseJob(failed, ofAcme)).outcome, 'erased')
  const running = await submit()
  const lease = await claim()
  const queued = await submit()
  for (const [jobId, state] of [[queued, 'queued'], [running, 'running']] as const) {
    const before = await store.jobs.find(jobId)
    const { outcome, entry } = await eraseJob(jobId, ofAcme)
    t.match({ outcome, entry }, { outcome: 'active', entry: { state } })
    t.same(await store.jobs.find(jobId), before)
  }
  await cancelJob(queued, always)
  t.equal((await eraseJob(queued, ofAcme)).outcome, 'erased')
  await runJob.complete(lease, noResult)
  t.equal((await eraseJob(running, ofAcme)).outcome, 'erased')
})

t.test('a forbidden erasure changes nothing, and its answer is exposed', async t => {
  const commands = await openCommands(t)
  const { eraseJob, sql, store, changeLog, exposed } = commands
  const jobId = await finish(commands)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('tenantless', 'Succeeded')")
  for (const [id, canModify] of [
    [jobId, (tenant: string | null) => tenant === 'globex'], ['tenantless', ofAcme], ['unknown', always]
  ] as const) {
    const before = [await store.jobs.find(id), changeLog.head()]
    const count = exposed.length
    t.equal((await eraseJob(id, canModify)).outcome, 'forbidden')
    t.same([await store.jobs.find(id), changeLog.head()], before)
    t.equal(exposed.length, count + 1, 'what the answer reveals is exposed all the same')
  }
  t.equal((await eraseJob('tenantless', always)).outcome, 'erased')
})

t.test('erases a finished row of another program like one of ours', async t => {
  const { eraseJob, sql, store } = await openCommands(t)
  sql(
    "INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('done', 'Failed', 'acme'), ('live', 'Running', 'acme')"
  )
  t.equal((await eraseJob('done', ofAcme)).outcome, 'erased')
  t.match(await store.jobs.find('done'), { kind: 'tombstone' })
  t.equal((await eraseJob('live', ofAcme)).outcome, 'active')
})

t.test('many erasures at once erase the job once', async t => {
  const commands = await openCommands(t)
  const jobId = await finish(commands)
  const outcomes = await Promise.all(
    Array.from({ length: 10 }, async () => (await commands.eraseJob(jobId, ofAcme)).outcome)
  )
  t.same(outcomes.toSorted(), ['erased', ...Array.from({ length: 9 }, () => 'forbidden')])
})

t.test('a read of a result that is erased meanwhile fails, so that half of it is not taken for the whole', async t => {
  const commands = await openCommands(t)
  const { submit, claim, runJob, eraseJob, results, job } = commands
  const jobId = await submit()
  const lease = await claim()
  await runJob.append(lease, 0, Buffer.from('abc'), csv)
  await runJob.append(lease, 3, Buffer.from('def'), csv)
  await runJob.complete(lease, appended(6))
  const done = await job(jobId)
  const sha256 = done.state === 'succeeded' ? done.result?.sha256 ?? '' : ''
  const bytes = results.read({ jobId, sha256 }, 0, 6)
  t.equal(String((await bytes.next()).value), 'abc')
  await eraseJob(jobId, ofAcme)
  await t.rejects(bytes.next(), { name: 'ResultTorn' })
})
