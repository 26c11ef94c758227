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

const tables = ['JobExecutionLog', 'JobQueue', 'JobInput', 'JobInputChunk', 'JobResult', 'JobResultChunk', 'SanitizationEvent']

t.test('a finished job goes with its result, its input and what was counted', async t => {
  const commands = await openCommands(t)
  const { eraseJob, count, transact, clock, store, readStatus } = commands
  const jobId = await finish(commands)
  t.same(tables.map(count), [1, 0, 0, 1, 1, 1, 1])
  const { version } = await readStatus(jobId, 0)
  const { outcome, entry } = await eraseJob(jobId, ofAcme)
  t.equal(outcome, 'erased')
  t.match(entry, { state: 'expired', tenant: 'acme', v1Body: '', taskBody: '' })
  t.ok(entry.version > version)
  t.match(await readStatus(jobId, 0), { state: 'expired' }, 'the cache does not know better')
  t.match(await store.jobs.find(jobId), { kind: 'tombstone', tombstone: { tenant: 'acme' } })
  while (await transact(tx => pruneOrphans(tx, clock.ms, 32)) > 0);
  t.same(tables.map(count), [0, 0, 0, 0, 0, 0, 0])
  t.equal((await eraseJob(jobId, ofAcme)).outcome, 'forbidden', 'a second time there is nothing')
})

t.test('one that failed or was cancelled can be erased, one that is not finished cannot', async t => {
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

t.test('what may not be touched, or is not there, stays', async t => {
  const commands = await openCommands(t)
  const { eraseJob, sql, store, changeLog, exposed } = commands
  const jobId = await finish(commands)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('nobodys', 'Succeeded')")
  for (const [id, permits] of [[jobId, (tenant: string | null) => tenant === 'globex'], ['nobodys', ofAcme], ['nobody', always]] as const) {
    const before = [await store.jobs.find(id), changeLog.head()]
    const count = exposed.length
    t.equal((await eraseJob(id, permits)).outcome, 'forbidden')
    t.same([await store.jobs.find(id), changeLog.head()], before)
    t.equal(exposed.length, count + 1, 'what the answer reveals is exposed all the same')
  }
  t.equal((await eraseJob('nobodys', always)).outcome, 'erased')
})

t.test('a finished row of another engine is erased like one of ours', async t => {
  const { eraseJob, sql, store } = await openCommands(t)
  sql("INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('done', 'Failed', 'acme'), ('live', 'Running', 'acme')")
  t.equal((await eraseJob('done', ofAcme)).outcome, 'erased')
  t.match(await store.jobs.find('done'), { kind: 'tombstone' })
  t.equal((await eraseJob('live', ofAcme)).outcome, 'active')
})

t.test('many at once erase it once', async t => {
  const commands = await openCommands(t)
  const jobId = await finish(commands)
  const outcomes = await Promise.all(Array.from({ length: 10 }, async () => (await commands.eraseJob(jobId, ofAcme)).outcome))
  t.same(outcomes.toSorted(), ['erased', ...Array.from({ length: 9 }, () => 'forbidden')])
})

t.test('whoever still reads the result of an erased job is not given the half of it for the whole', async t => {
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
