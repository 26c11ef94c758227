import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import t, { type Test } from 'tap'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { DatabaseInUse } from '../../../src/store/errors.ts'
import { lockForProcess, shareAmongProcesses } from '../../../src/store/sqlite/process-lock.ts'
import { sqlite3 } from '../../helpers/databases.ts'
import { spawnChild } from '../child.ts'
import { queuedJob } from '../jobs.ts'
import { openStore } from '../open.ts'

t.test('a database has one lock, until it is released', async t => {
  const { path } = await openStore(t)
  const release = lockForProcess(path)
  t.throws(() => lockForProcess(path), new DatabaseInUse(path))
  t.throws(() => lockForProcess(path), { message: path }, 'still, after a refusal')
  release()
  lockForProcess(path)()
})

t.test('a link to the database leads to the same lock', async t => {
  const { path } = await openStore(t)
  const link = `${path}.link`
  symlinkSync(path, link)
  const release = lockForProcess(path)
  t.throws(() => lockForProcess(link), { name: 'DatabaseInUse' })
  release()
})

t.test('databases in one folder are locked separately', async t => {
  const directory = t.testdir()
  const { path } = await openStore(t, join(directory, 'one.db'))
  const other = await openStore(t, join(directory, 'two.db'))
  const releases = [lockForProcess(path), lockForProcess(other.path)]
  for (const release of releases) release()
})

t.test('another service process is kept off, and its SQL is not', async t => {
  const { path, transact, store } = await openStore(t)
  const release = lockForProcess(path)
  t.equal(await spawnChild(t, 'sqlite/lock-holder.ts', path).line(), 'DatabaseInUse')
  await sqlite3(path, "INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  await transact(tx => insertJob(tx, queuedJob('ours')))
  t.equal(await sqlite3(path, 'SELECT count(*) FROM JobExecutionLog'), '2')
  t.equal((await store.jobs.find('theirs')).kind, 'job')
  release()
  const child = spawnChild(t, 'sqlite/lock-holder.ts', path)
  t.equal(await child.line(), 'locked')
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' })
  child.process.stdin?.end('release\n')
  t.equal(await child.line(), 'released')
  lockForProcess(path)()
})

t.test('the lock of a killed process is free at once', async t => {
  const { path } = await openStore(t)
  const child = spawnChild(t, 'sqlite/lock-holder.ts', path)
  t.equal(await child.line(), 'locked')
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' })
  child.process.kill('SIGKILL')
  t.equal((await child.ended).signal, 'SIGKILL')
  lockForProcess(path)()
})

t.test('a lock file that cannot be made is no DatabaseInUse', async t => {
  const directory = t.testdir({ 'jobs.db': '', 'jobs.db.lock': {} })
  t.throws(() => lockForProcess(join(directory, 'jobs.db')), { code: /^SQLITE_CANTOPEN/ })
})

t.test('processes that share a database keep off one that does not, and vice versa', async t => {
  const { path } = await openStore(t)
  const [first, second] = [
    spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared'), spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared')
  ]
  for (const line of await Promise.all([first.line(), second.line()])) t.match(line, /^locked/)
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' })
  t.equal(await spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared').line(), 'locked', 'a refusal is no hindrance')
  first.process.kill('SIGKILL')
  await first.ended
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' }, 'one is left')

  const { path: other } = await openStore(t, `${path}.other`)
  const release = lockForProcess(other)
  await t.rejects(shareAmongProcesses(other, () => t.fail('not alone')), new DatabaseInUse(other))
  release()
  let times = 0
  const leave = await shareAmongProcesses(other, () => { times++ })
  t.equal(times, 1, 'nobody else was there')
  leave()
  lockForProcess(other)()
})

t.test('a failure of whileAlone is thrown, and leaves no lock', async t => {
  const { path } = await openStore(t)
  await t.rejects(shareAmongProcesses(path, () => { throw new Error('odd') }), { message: 'odd' })
  lockForProcess(path)()
})

/** Calls `work` once, in the moment in which a starting process holds neither lock. */
const betweenLocks = (t: Test, work: () => void): void => {
  const { exec } = SqliteDatabase.prototype
  const restore = () => { SqliteDatabase.prototype.exec = exec }
  SqliteDatabase.prototype.exec = function (this: SqliteDatabase.Database, sql: string) {
    exec.call(this, sql)
    if (sql === 'COMMIT') {
      restore()
      work()
    }
    return this
  }
  t.teardown(restore)
}

t.test('a process that starts between the locks of another one and shares the database shares it with that one', async t => {
  const { path } = await openStore(t)
  let other: ReturnType<typeof shareAmongProcesses> | undefined
  betweenLocks(t, () => { other = shareAmongProcesses(path, () => {}) })
  const releases = [await shareAmongProcesses(path, () => {}), await other]
  for (const release of releases) {
    t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' })
    release?.()
  }
  lockForProcess(path)()
})

t.test('a process that locks the database for itself between the locks of another one keeps that one off', async t => {
  const { path } = await openStore(t)
  let release = () => {}
  betweenLocks(t, () => { release = lockForProcess(path) })
  await t.rejects(shareAmongProcesses(path, () => {}), new DatabaseInUse(path))
  release()
  lockForProcess(path)()
})
