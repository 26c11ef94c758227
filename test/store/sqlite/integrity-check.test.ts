import { execFile } from 'node:child_process'
import { copyFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { findDamage, chooseCheck } from '../../../src/store/sqlite/integrity-check.ts'
import { openForProcess } from '../../../src/store/sqlite/open.ts'
import { violationsOf } from '../../helpers/invariants.ts'
import { sqlite3 } from '../../helpers/databases.ts'
import { spawnService } from '../../helpers/service.ts'
import { secret } from '../../helpers/tokens.ts'
import { openForeign, openStore } from '../open.ts'

const run = promisify(execFile)

/** What a start that has to fail says. */
const failedStart = async (path: string): Promise<{ code: number, stderr: string }> =>
  await run(process.execPath, ['src/main.ts'], {
    env: { ...process.env, DATABASE_URL: `sqlite:${path}`, JWT_SECRET: secret, PORT: '0' }, timeout: 60_000
  }).then(
    () => ({ code: 0, stderr: '' }),
    (error: { code: number, stderr: string }) => ({ code: error.code, stderr: error.stderr })
  )

const frameBytes = 24 + 4096
const headBytes = 32
// Before the log begins, and in all.
const jobsBefore = 150
const jobsMax = 400

/** `sizes`: of the log, after each job that was written to it. `takenOver`: so many frames stand in the database too. */
type LeftOpen = { path: string, sizes: number[], takenOver: number }

/** A database as a killed process left it: in part taken over from a log that is still there, in part only in the log. */
const leaveOpen = async (t: Test): Promise<LeftOpen> => {
  const { path, database: { reader } } = await openStore(t)
  const writer = openForeign(t, path)
  writer.pragma('wal_autocheckpoint = 0')
  const sizes: number[] = []
  const write = (from: number, until: number) => {
    for (let job = from; job < until; job++) {
      writer.exec(`BEGIN; INSERT INTO JobExecutionLog (jobId, type, status) VALUES ('j${job}', '${'x'.repeat(300)}', 'Running');
        UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = 'j${Math.floor(job / 2)}'; COMMIT`)
      sizes.push(statSync(`${path}-wal`).size)
    }
  }
  write(0, jobsBefore)
  writer.pragma('wal_checkpoint(TRUNCATE)')
  sizes.length = 0
  write(jobsBefore, jobsMax - 100)
  // What comes after the moment that somebody reads is not taken over.
  reader.exec('BEGIN')
  reader.prepare('SELECT count(*) FROM JobChange').get()
  write(jobsMax - 100, jobsMax)
  const [{ checkpointed: takenOver }] = writer.pragma('wal_checkpoint(PASSIVE)') as [{ checkpointed: number }]
  const left = join(t.testdirName, 'left.db')
  for (const name of ['', '-wal']) copyFileSync(path + name, left + name)
  return { path: left, sizes, takenOver }
}

const cutTo = (left: string, size: number): string => {
  const cut = `${left}.cut`
  for (const name of ['', '-wal', '-shm', '.lock']) rmSync(cut + name, { force: true })
  for (const name of ['', '-wal']) copyFileSync(left + name, cut + name)
  truncateSync(`${cut}-wal`, size)
  return cut
}

t.test('with a log that was cut, it has all commits before the cut or fails to start with one line', async t => {
  const { path, sizes, takenOver } = await leaveOpen(t)
  const last = sizes.at(-1) ?? 0
  t.ok(takenOver > 100 &&
    headBytes + takenOver * frameBytes < last, 'part of the log is in the database, and part is not')
  const places = Array.from({ length: 60 }, (_, at) => Math.floor(at * last / 60) + [0, 1, 57][at % 3]!)
  const whole = sizes.filter((_, job) => job % 20 === 0)
  const outcomes = { started: 0, failed: 0 }
  let failedAt = 0
  for (const size of [0, 7, headBytes, headBytes + 24, ...whole, ...places, last]) {
    const cut = cutTo(path, size)
    const opened = await openForProcess(cut, false).catch((error: Error) => error)
    if (opened instanceof Error) {
      outcomes.failed++
      failedAt = size
      t.match(
        opened, {
          name: 'DatabaseUnusable',
          message: /^DATABASE_URL: cannot use .*left\.db\.cut: it is damaged \(.+\): restore a backup with npm run restore$/
        }, `${size}`
      )
      t.notMatch(opened.message, '\n')
      continue
    }
    outcomes.started++
    await opened.database.close()
    opened.releaseLock()
    t.same(violationsOf(cut), [], `${size}`)
    const found = Number(await sqlite3(cut, 'SELECT count(*) FROM JobExecutionLog'))
    const written = jobsBefore + sizes.filter(end => end <= size).length
    t.ok(found >= written, `${size}: ${found} of ${written}`)
    // Nothing of what was not committed, and no mixture: those that are there are the first ones, each as it was then.
    t.equal(await sqlite3(cut, `SELECT count(*) FROM JobExecutionLog WHERE CAST(substr(jobId, 2) AS INTEGER) >= ${found}
      OR (status = 'Succeeded') <> (CAST(substr(jobId, 2) AS INTEGER) <= ${(found - 1) / 2})`), '0', `${size}`)
  }
  t.comment(`takenOver ${takenOver}, ${JSON.stringify(outcomes)}`)
  t.ok(outcomes.started > 0 && outcomes.failed > 0)
  const { code, stderr } = await failedStart(cutTo(path, failedAt))
  t.equal(code, 1)
  t.match(stderr, /^DATABASE_URL: cannot use .*: it is damaged \(.+\): restore a backup with npm run restore\n$/)
})

t.test('starts with a log whose end was cut off, and only the last commit is missing', async t => {
  const { path, sizes } = await leaveOpen(t)
  const sound = await spawnService(t, { WORKERS: '0' }, cutTo(path, (sizes.at(-1) ?? 0) - 1))
  t.equal((await sound.ask('/readyz')).status, 200)
  t.equal(await sound.sql('SELECT count(*) FROM JobExecutionLog'), String(jobsMax - 1), 'all but the last commit')
})

t.test('names a database that another program keeps locked, in one line', async t => {
  const directory = t.testdir()
  const [whole, writing] = [join(directory, 'whole.db'), join(directory, 'writing.db')]
  for (const path of [whole, writing]) await (await openStore(t, path)).database.close()
  openForeign(t, whole, 'locking_mode = EXCLUSIVE').exec(
    "INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')"
  )
  openForeign(t, writing).exec('BEGIN IMMEDIATE')
  await Promise.all([whole, writing].map(async path => {
    const { code, stderr } = await failedStart(path)
    t.equal(code, 1)
    t.equal(stderr, `DATABASE_URL: cannot use ${path}: another program keeps it locked (database is locked)\n`)
  }))
})

t.test('checks small databases always, and large ones if a log was left', t => {
  const path = join(t.testdir({ 'jobs.db': '' }), 'jobs.db')
  t.equal(chooseCheck(join(t.testdirName, 'none.db')), undefined)
  t.equal(chooseCheck(path), 'thorough')
  truncateSync(path, 65 * 1024 * 1024)
  t.equal(chooseCheck(path), undefined)
  writeFileSync(`${path}-wal`, '')
  t.equal(chooseCheck(path), undefined)
  writeFileSync(`${path}-wal`, 'x')
  t.equal(chooseCheck(path), 'quick')
  t.end()
})

t.test('takes unusual values of another program for no damage', async t => {
  const { path } = await openStore(t)
  const foreign = openForeign(t, path)
  foreign.exec(
    'CREATE TABLE theirs (n INTEGER CHECK (n > 0)); PRAGMA ignore_check_constraints = ON; INSERT INTO theirs VALUES (-1)'
  )
  foreign.pragma('ignore_check_constraints = OFF')
  t.match(foreign.pragma('integrity_check', { simple: true }), /CHECK constraint failed in theirs/)
  for (const how of ['quick', 'thorough'] as const) t.equal(findDamage(foreign, how), undefined)
})
