import t from 'tap'
import { pruneIdempotencyKeys, reserveIdempotencyKey } from '../../../src/store/tx/idempotency.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { sqlite3 } from '../../helpers/service.ts'
import { queuedJob } from '../jobs.ts'
import { openStore } from '../open.ts'

const dayMs = 24 * 3600 * 1000

t.test('the change log is read from any point, in order', async t => {
  const { changeLog, transact } = await openStore(t)
  t.equal(changeLog.head(), 0)
  t.equal(changeLog.oldest(), undefined)
  t.same(changeLog.after(0, 10), [])
  for (const jobId of ['a', 'b', 'c']) await transact(tx => insertJob(tx, queuedJob(jobId)))
  t.equal(changeLog.head(), 3)
  t.equal(changeLog.oldest(), 1)
  t.same(changeLog.after(0, 2), [{ version: 1, jobId: 'a' }, { version: 2, jobId: 'b' }])
  t.same(changeLog.after(2, 2), [{ version: 3, jobId: 'c' }])
  t.same(changeLog.after(3, 2), [])
})

t.test('the data version moves with every commit of any program, and with nothing else', async t => {
  const { changeLog, transact, path } = await openStore(t)
  const seen = [changeLog.dataVersion()]
  t.equal(changeLog.dataVersion(), seen[0])
  await transact(tx => insertJob(tx, queuedJob('a')))
  seen.push(changeLog.dataVersion())
  t.equal(changeLog.dataVersion(), seen[1])
  await sqlite3(path, 'DELETE FROM JobExecutionLog')
  seen.push(changeLog.dataVersion())
  await sqlite3(path, 'SELECT * FROM JobExecutionLog')
  t.equal(changeLog.dataVersion(), seen[2])
  t.equal(new Set(seen).size, 3)
})

t.test('old changes are forgotten, the sequence is not', async t => {
  const { changeLog, transact, store, path } = await openStore(t)
  for (const jobId of ['a', 'b', 'c', 'd']) await transact(tx => insertJob(tx, queuedJob(jobId)))
  await sqlite3(path, 'UPDATE JobChange SET at = version * 100')
  t.equal(await transact(tx => changeLog.prune(tx, 100, 10)), 0)
  t.equal(await transact(tx => changeLog.prune(tx, 301, 2)), 2, 'no more than asked')
  t.equal(changeLog.oldest(), 3)
  t.equal(await transact(tx => changeLog.prune(tx, 301, 2)), 1)
  t.equal(await transact(tx => changeLog.prune(tx, Infinity, 10)), 1)
  t.equal(changeLog.oldest(), undefined)
  t.equal(changeLog.head(), 4)
  await sqlite3(path, "UPDATE JobExecutionLog SET status = 'Running', version = 1 WHERE jobId = 'a'")
  t.match(await store.find('a'), { job: { version: 5 } })
  t.same(changeLog.after(4, 10), [{ version: 5, jobId: 'a' }])
})

t.test('changes carry the time at which they were made', async t => {
  const { changeLog, transact, path } = await openStore(t)
  const before = Date.now() - 1
  await transact(tx => insertJob(tx, queuedJob('a')))
  const at = Number(await sqlite3(path, 'SELECT at FROM JobChange'))
  t.ok(at >= before && at <= Date.now())
  t.equal(await transact(tx => changeLog.prune(tx, before, 10)), 0)
})

t.test('an idempotency key is reserved per tenant while it is kept, and pruned by age', async t => {
  const { transact, database } = await openStore(t)
  const reserve = (tenant: string, key: string, createdAt: number, jobId = 'j', keptSince = 0) =>
    transact(tx => reserveIdempotencyKey(tx, tenant, key, { requestHash: 'h', jobId, createdAt }, keptSince))
  const keys = () => database.reader.prepare("SELECT tenant || '/' || key FROM IdempotencyKey ORDER BY 1").pluck().all()
  t.equal(await reserve('acme', 'k', 1000), undefined)
  t.equal(await reserve('acme', 'young', 2000), undefined)
  t.equal(await reserve('other', 'k', 1500, 'theirs'), undefined)
  t.same(await reserve('acme', 'k', 1200, 'j2', 999), { requestHash: 'h', jobId: 'j', createdAt: 1000 }, 'the first use stands')
  t.equal((await reserve('other', 'k', 1600))?.jobId, 'theirs')
  t.equal(await reserve('acme', 'k', 1200, 'j2', 1000), undefined, 'once it is too old, the key is free again')
  t.same(await reserve('acme', 'k', 1300, 'j3', 1199), { requestHash: 'h', jobId: 'j2', createdAt: 1200 })

  const now = 1500 + dayMs
  t.equal(await transact(tx => pruneIdempotencyKeys(tx, now - dayMs, 10)), 1)
  t.same(keys(), ['acme/young', 'other/k'], 'a key of exactly this age stays')
  t.equal(await transact(tx => pruneIdempotencyKeys(tx, Infinity, 1)), 1, 'no more than the limit')
  t.same(keys(), ['acme/young'], 'the oldest first')
})
