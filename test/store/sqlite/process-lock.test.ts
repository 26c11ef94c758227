import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import t, { type Test } from 'tap'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { DatabaseInUse, lockForProcess, shareAmongProcesses } from '../../../src/store/sqlite/process-lock.ts'
import { sqlite3 } from '../../helpers/service.ts'
import { spawnChild } from '../child.ts'
import { queuedJob } from '../jobs.ts'
import { until } from '../../helpers/until.ts'
import { openStore } from '../open.ts'

/** Does something whenever a process has given back something, before it takes anything. Returns what ends that. */
const inTheGaps = (t: Test, work: () => void) => {
  const { exec } = SqliteDatabase.prototype
  let isWorking = false
  const restore = () => { SqliteDatabase.prototype.exec = exec }
  SqliteDatabase.prototype.exec = function (this: SqliteDatabase.Database, sql: string) {
    exec.call(this, sql)
    if (sql === 'COMMIT' && !isWorking) {
      isWorking = true
      work()
      isWorking = false
    }
    return this
  }
  t.teardown(restore)
  return restore
}

const nameOf = (work: () => void): string => {
  try {
    work()
    return 'nothing'
  } catch (error) {
    return (error as Error).name
  }
}

t.test('one lock a database, until it is released', async t => {
  const { path } = await openStore(t)
  const release = lockForProcess(path)
  t.throws(() => lockForProcess(path), new DatabaseInUse(path))
  t.throws(() => lockForProcess(path), { message: path }, 'still, after a refusal')
  release()
  lockForProcess(path)()
})

t.test('a link to the database is no way round', async t => {
  const { path } = await openStore(t)
  const link = `${path}.link`
  symlinkSync(path, link)
  const release = lockForProcess(path)
  t.throws(() => lockForProcess(link), { name: 'DatabaseInUse' })
  release()
})

t.test('databases side by side are locked each by itself', async t => {
  const directory = t.testdir()
  const { path } = await openStore(t, join(directory, 'one.db'))
  const other = await openStore(t, join(directory, 'two.db'))
  const releases = [lockForProcess(path), lockForProcess(other.path)]
  for (const release of releases) release()
})

t.test('another process is refused, and its SQL is not', async t => {
  const { path, transact, store } = await openStore(t)
  const release = lockForProcess(path)
  t.equal(await spawnChild(t, 'sqlite/lock-holder.ts', path).line(), 'DatabaseInUse')
  await sqlite3(path, "INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  await transact(tx => insertJob(tx, queuedJob('ours')))
  t.equal(await sqlite3(path, 'SELECT count(*) FROM JobExecutionLog'), '2')
  t.equal((await store.find('theirs')).kind, 'job')
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

t.test('processes that share a database keep off one that does not, and the other way round', async t => {
  const { path } = await openStore(t)
  const [first, second] = [spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared'), spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared')]
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
  const { release: leave } = await shareAmongProcesses(other, () => { times++ })
  t.equal(times, 1, 'nobody else was there')
  leave()
  lockForProcess(other)()
})

t.test('one of them that is alone can keep the others off for a while', async t => {
  const { path } = await openStore(t)
  const lock = await shareAmongProcesses(path, () => {})
  t.equal(lock.exclude(), true)
  t.equal(await spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared').line(), 'DatabaseInUse')
  lock.admit()
  const child = spawnChild(t, 'sqlite/lock-holder.ts', path, 'shared')
  t.equal(await child.line(), 'locked')
  t.equal(lock.exclude(), false, 'not while there are others')
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' })
  child.process.kill('SIGKILL')
  await child.ended
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' }, 'it has kept its own place')
  t.equal(lock.exclude(), true)
  lock.release()
})

t.test('what fails while one is alone is thrown, and leaves no lock', async t => {
  const { path } = await openStore(t)
  await t.rejects(shareAmongProcesses(path, () => { throw new Error('odd') }), { message: 'odd' })
  lockForProcess(path)()
})

t.test('while a place becomes the only one, or one of several, nobody finds the database free', async t => {
  for (const change of ['exclude', 'admit'] as const) {
    const { path } = await openStore(t, join(t.testdir(), `${change}.db`))
    const lock = await shareAmongProcesses(path, () => {})
    const exclude = () => { t.equal(lock.exclude(), true, 'it is alone') }
    if (change === 'admit') exclude()
    const met: string[] = []
    let other: ReturnType<typeof shareAmongProcesses> | undefined
    const restore = inTheGaps(t, () => {
      met.push(nameOf(() => lockForProcess(path)))
      other ??= shareAmongProcesses(path, () => t.fail('not alone'))
    })
    if (change === 'exclude') exclude()
    lock.admit()
    restore()
    t.same(met.filter(name => name !== 'DatabaseInUse'), [], change)
    if (other === undefined) throw new Error('nobody else came')
    const { release } = await other
    t.equal(lock.exclude(), false, 'the other one is in by now')
    lock.release()
    t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' }, 'and has a place of its own')
    release()
    lockForProcess(path)()
  }
})

t.test('a place that something else has taken meanwhile is had again once it is free', async t => {
  for (const change of ['exclude', 'admit'] as const) {
    const { path } = await openStore(t, join(t.testdir(), `${change}.db`))
    const lock = await shareAmongProcesses(path, () => {})
    if (change === 'admit') t.equal(lock.exclude(), true)
    const other = new SqliteDatabase(`${path}.lock`, { timeout: 0 })
    const restore = inTheGaps(t, () => { if (!other.inTransaction) other.exec('BEGIN EXCLUSIVE') })
    if (change === 'exclude') t.equal(lock.exclude(), false)
    else lock.admit()
    restore()
    t.equal(lock.exclude(), false, change)
    lock.admit()
    other.exec('COMMIT')
    await until(() => nameOf(() => { other.exec('BEGIN EXCLUSIVE; COMMIT') }) === 'SqliteError', 'the place')
    t.equal(lock.exclude(), true)
    lock.admit()
    other.close()
    lock.release()
    lockForProcess(path)()
  }
})

t.test('a place that is not had again yet is tried no more once the process has it alone, or has left', async t => {
  const { path } = await openStore(t)
  const lock = await shareAmongProcesses(path, () => {})
  const other = new SqliteDatabase(`${path}.lock`, { timeout: 0 })
  const losePlace = () => {
    const restore = inTheGaps(t, () => { if (!other.inTransaction) other.exec('BEGIN EXCLUSIVE') })
    t.equal(lock.exclude(), false)
    restore()
    other.exec('COMMIT')
  }
  // Timers run in their order: what would be tried again has been, then.
  const trialsOver = () => delay(100)
  losePlace()
  t.equal(lock.exclude(), true)
  await trialsOver()
  t.throws(() => lockForProcess(path), { name: 'DatabaseInUse' }, 'it is still alone')
  lock.admit()
  losePlace()
  lock.release()
  await trialsOver()
  other.close()
  lockForProcess(path)()
})
