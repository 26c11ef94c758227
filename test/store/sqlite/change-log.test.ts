import t from 'tap'
import { createChangeLog } from '../../../src/store/sqlite/change-log.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { sqlite3 } from '../../helpers/databases.ts'
import { queuedJob } from '../jobs.ts'
import { openStore } from '../open.ts'

t.test('changes are pruned by their age, oldest first, and the sequence goes on', async t => {
  const { store: { jobs, changes }, changeLog, transact, path } = await openStore(t)
  const versions = () => changeLog.after(0, 10).map(({ version }) => version)
  for (const jobId of ['a', 'b', 'c', 'd']) await transact(tx => insertJob(tx, queuedJob(jobId)))
  await sqlite3(path, 'UPDATE JobChange SET at = version * 100')
  t.equal(await transact(tx => changes.prune(tx, 100, 10)), 0)
  t.equal(await transact(tx => changes.prune(tx, 301, 2)), 2, 'no more than the limit')
  t.same(versions(), [3, 4])
  t.equal(await transact(tx => changes.prune(tx, 301, 2)), 1)
  t.equal(await transact(tx => changes.prune(tx, Infinity, 10)), 1)
  t.same(versions(), [])
  await sqlite3(path, "UPDATE JobExecutionLog SET status = 'Running', version = 1 WHERE jobId = 'a'")
  t.match(await jobs.find('a'), { job: { version: 5 } })
  t.same(versions(), [5])
})

t.test('changes carry the time at which they were made', async t => {
  const { transact, path } = await openStore(t)
  const before = Date.now() - 1
  await transact(tx => insertJob(tx, queuedJob('a')))
  const at = Number(await sqlite3(path, 'SELECT at FROM JobChange'))
  t.ok(at >= before && at <= Date.now())
})

t.test('a follower does not read the log while no connection has committed', async t => {
  const { database, transact, path } = await openStore(t)
  const { reader } = database
  const prepare = reader.prepare.bind(reader)
  let reads = 0
  Reflect.set(reader, 'prepare', (text: string) => {
    const statement = prepare(text)
    const all = statement.all.bind(statement)
    statement.all = (...values) => {
      reads++
      return all(...values)
    }
    return statement
  })
  const follower = await createChangeLog({ database, incarnation: 'i' }).follow()
  const idsOfNext = async () => (await follower.next(10)).changes.map(({ jobId }) => jobId)
  t.same([await idsOfNext(), reads], [[], 1])
  follower.accept()
  t.same([await idsOfNext(), await idsOfNext(), reads], [[], [], 1])
  await transact(tx => insertJob(tx, queuedJob('a')))
  t.same([await idsOfNext(), await idsOfNext(), reads], [['a'], ['a'], 3], 'it reads again what was not accepted')
  follower.accept()
  t.same([await idsOfNext(), reads], [[], 3])
  await sqlite3(path, "UPDATE JobExecutionLog SET status = 'Running'")
  t.same([await idsOfNext(), reads], [['a'], 4], 'another program has committed')
})
