import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import SqliteDatabase from 'better-sqlite3'
import t from 'tap'
import { writeBackup } from '../../src/store/sqlite/backup.ts'
import { restoreBackup } from '../../src/store/sqlite/restore.ts'
import { createWorkerClient, jsonOf, workerClaims } from '../helpers/client.ts'
import { violationsOf } from '../helpers/invariants.ts'
import { startRedis } from '../helpers/redis.ts'
import { sqlite3 } from '../helpers/databases.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { secret } from '../helpers/tokens.ts'
import { openForeign, openStore } from '../store/open.ts'
import { suspendInReport } from './suspended-report.ts'

const run = promisify(execFile)

/** One of the operator's commands, without npm. */
const script = async (name: 'backup' | 'restore' | 'renew-incarnation', databasePath: string, ...files: string[]) =>
  await run(process.execPath, [`scripts/${name}.ts`, ...files], {
    env: { ...process.env, DATABASE_URL: `sqlite:${databasePath}`, JWT_SECRET: secret }
  }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: {
      code: number, stdout: string, stderr: string
    }) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr })
  )

const refusedWith = (stderr: RegExp) => ({ code: 1, stdout: /^$/, stderr })

// The same in this process, which spares a start each.
const restored = (
  databasePath: string, file: string
): Promise<string> => restoreBackup(file, databasePath, Date.now()).then(
  ({ keptAs }) => keptAs ?? 'none before', (error: Error) => `${error.name}: ${error.message}`)
const backedUp = (databasePath: string, file: string): Promise<string> => writeBackup(databasePath, file).then(
  ({ records }) => `${records} records`, (error: Error) => `${error.name}: ${error.message}`)

const look = async ({ ask }: SpawnedService, jobId: string, eTag?: string) => {
  const answer = await ask(`/api/v1/jobs/${jobId}`, { headers: eTag === undefined ? {} : { 'if-none-match': eTag } })
  const [, incarnation = '', version = ''] = /^"([0-9a-f]+)\.(\d+)\./.exec(answer.headers.get('etag') ?? '') ?? []
  return {
    status: answer.status,
    body: await answer.text(),
    eTag: answer.headers.get('etag') ??
    '',
    incarnation,
    version: Number(version)
  }
}

t.test('a backup under write load is restored: its state, a new incarnation, and the jobs that ran are run again', async t => {
  const directory = t.testdir()
  const path = join(directory, 'jobs.db')
  const backup = join(directory, 'jobs.backup')
  const env = { WORKERS: '0', LOG_LEVEL: 'info', REDIS_URL: (await startRedis(t)).url }
  const before = await spawnService(t, env, path)
  const worker = createWorkerClient(before)

  const done = await before.submit('work', { n: 1 }, { claims: workerClaims })
  const first = await worker.claimed('work')
  await worker.upload(done, first.leaseToken, 0, 'all of it', { headers: { 'content-type': 'text/plain' } })
  await worker.report(done, 'complete', first.leaseToken)
  const running = await before.submit('work', { n: 2 }, { claims: workerClaims })
  const held = await worker.claimed('work', { leaseSeconds: 3600 })
  await worker.report(running, 'progress', held.leaseToken, { percent: 40 })
  await before.submit('filler', 'x'.repeat(500_000))

  const load = { stopped: false, submitted: [] as string[] }
  const writers = Promise.all(Array.from({ length: 4 }, async () => {
    while (!load.stopped) load.submitted.push(await before.submit('load', {}))
  }))
  const made = await script('backup', path, backup)
  t.match(made, {
    code: 0,
    stdout: new RegExp(
    `^${backup}: backup of ${path}, \\d+ records up to version \\d+, \\d+ bytes, checked\\n$`
    ),
    stderr: /^$/
  })
  load.stopped = true
  await writers
  t.equal(statSync(backup).mode & 0o777, 0o600)
  t.same(readdirSync(directory).filter(name => name.startsWith('jobs.backup')), ['jobs.backup'], 'one file')
  t.same(violationsOf(backup), [])
  const records = Number(await sqlite3(backup, 'SELECT count(*) FROM JobExecutionLog'))
  t.ok(records >= 3 && records <= load.submitted.length + 3, `of one moment: ${records}`)
  const bytes = readFileSync(backup)
  t.match(
    await script('backup', path, backup), refusedWith(/^.*jobs\.backup is there already, and is not overwritten\n$/)
  )
  t.ok(readFileSync(backup).equals(bytes))

  // After the backup: more progress and the end of the job that ran, and a new one.
  await worker.report(running, 'progress', held.leaseToken, { percent: 80 })
  await worker.report(running, 'complete', held.leaseToken)
  const late = await before.submit('late', {})
  const [oldDone, oldRunning] = [await look(before, done), await look(before, running)]
  t.match(JSON.parse(oldRunning.body), { status: 'Succeeded' })
  t.match(
    await script('restore', path, backup),
    refusedWith(/^a service process is using .*jobs\.db: stop it, then restore\n$/)
  )
  t.equal((await before.kill('SIGTERM')).code, 0)

  const restoring = await script('restore', path, backup)
  t.match(restoring, {
    code: 0,
    stderr: /^$/,
    stdout: new RegExp(
      `^${path}: restored from ${backup}, ${records} records up to version \\d+; the previous database is kept as \\S+\\n$`
    )
  })
  const keptAs = /kept as (\S+)/.exec(restoring.stdout)?.[1] ?? ''
  t.match(keptAs, /jobs\.db\.before-\d{4}-\d\d-\d\dT[\d-]+Z$/)
  t.equal(
    await sqlite3(keptAs, `SELECT count(*) FROM JobExecutionLog WHERE jobId = '${late}'`), '1', 'what was there is kept'
  )

  const after = await spawnService(t, env, path)
  const newDone = await look(after, done, oldDone.eTag)
  t.equal(newDone.status, 200, 'an old ETag is no 304')
  t.equal(newDone.version, oldDone.version)
  t.equal(newDone.body, oldDone.body)
  t.not(newDone.incarnation, oldDone.incarnation)
  t.equal(await (await after.ask(`/api/v1/jobs/${done}/result`)).text(), 'all of it')
  t.equal((await look(after, late)).status, 404)
  // The floor of a version that was never drawn here causes no read of the store, and hides nothing that is cached.
  t.match(await look(after, done, `"${oldDone.incarnation}.999999.1"`), { status: 200, body: newDone.body })
  t.equal((await look(after, done, newDone.eTag)).status, 304)

  const old = createWorkerClient(after)
  t.match(await jsonOf(old.report(
    running, 'progress', held.leaseToken, { percent: 90 }
  )), { code: 'LEASE_LOST' }, 'who held a lease then has lost it')
  await after.sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${running}'`)
  const again = await jsonOf(old.claim({ types: ['work'], wait: 10 }))
  t.match(again, { jobId: running, attempt: 2 })
  await old.report(running, 'complete', again.leaseToken, { result: 'again' })
  const newRunning = await look(after, running, oldRunning.eTag)
  t.match(JSON.parse(newRunning.body), { status: 'Succeeded' })
  const head = Number(/up to version (\d+)/.exec(restoring.stdout)?.[1])
  t.ok(newRunning.version > head, 'versions go on rising')
  t.match(await jsonOf(after.ask(`/api/v1/jobs/${running}/result`)), 'again')
  await after.kill('SIGTERM')
  t.same(violationsOf(path), [])
  t.equal(await sqlite3(path, 'SELECT count(*) FROM JobExecutionLog'), String(records))
})

t.test('an embedded job that ran at the backup is finished after the restore', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const before = await spawnService(t, { LOG_LEVEL: 'info' }, path)
  await before.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'row-' || i, 'Running' FROM n`)
  const { jobId } = await suspendInReport(before)
  const backup = join(t.testdirName, 'jobs.backup')
  t.match(await script('backup', path, backup), { code: 0 })
  t.equal(await sqlite3(backup, `SELECT status FROM JobExecutionLog WHERE jobId = '${jobId}'`), 'Running')
  await before.kill('SIGKILL')
  t.match(await script('restore', path, backup), { code: 0 }, 'after a kill, too')
  const after = await spawnService(t, { LOG_LEVEL: 'info' }, path)
  t.match(await after.finished(jobId), { status: 'Succeeded' })
  t.match(await after.askJson(`/api/jobs/${jobId}/status`), { data: { attempt: 2 } })
})

t.test('a copy that was put in place by hand gets a new incarnation by command, while no service uses it', async t => {
  const path = join(t.testdir(), 'jobs.db')
  t.match(await script('renew-incarnation', path), refusedWith(/^DATABASE_URL: cannot use .*jobs\.db: there is no such file\n$/))
  const before = await spawnService(t, { WORKERS: '0' }, path)
  const jobId = await before.submit('work', {})
  const { eTag, incarnation, body } = await look(before, jobId)
  t.match(await script('renew-incarnation', path), refusedWith(
    /^a service process is using .*jobs\.db: stop it, then renew its incarnation\n$/))
  await before.kill('SIGTERM')
  t.match(await script('renew-incarnation', path), { code: 0, stderr: '', stdout: /jobs\.db: has a new incarnation/ })
  const after = await spawnService(t, { WORKERS: '0' }, path)
  const found = await look(after, jobId, eTag)
  t.match(found, { status: 200, body })
  t.not(found.incarnation, incarnation)
})

t.test('what is no whole backup of this service is refused, and nothing is changed', async t => {
  const { path, database } = await openStore(t)
  await database.close()
  const backup = join(t.testdirName, 'jobs.backup')
  const other = join(t.testdirName, 'other.db')
  await sqlite3(path, "INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  t.match(await backedUp(path, backup), /^\d records$/)
  const incarnation = await sqlite3(path, "SELECT value FROM ServiceState WHERE name = 'incarnation'")
  const refused = async (file: string, why: RegExp) => {
    const files = readdirSync(t.testdirName)
    const said = await restored(path, file)
    t.match(said, /^BackupFailed: [^\n]+$/)
    t.match(said, why)
    t.same(readdirSync(t.testdirName).filter(
      name => !name.endsWith('.lock'
      ) && !files.includes(name)), [], 'nothing is left behind')
    t.equal(await sqlite3(path, "SELECT value FROM ServiceState WHERE name = 'incarnation'"), incarnation)
  }
  await refused(join(t.testdirName, 'none'), /there is no file .*none$/)
  await refused(path, /is the database itself$/)
  writeFileSync(other, '')
  await refused(other, /other\.db was not restored: it is no database of this service$/)
  writeFileSync(other, 'no database at all, however long it goes on. '.repeat(100))
  await refused(other, /other\.db was not restored: file is not a database$/)
  writeFileSync(other, readFileSync(backup))
  truncateSync(other, statSync(backup).size - 4096 * 3)
  await refused(other, /other\.db was not restored: (it is damaged: .+|database disk image is malformed)$/)
  writeFileSync(other, readFileSync(backup))
  await sqlite3(other, "INSERT INTO kysely_migration VALUES ('9999-of-the-future', '2030-01-01')")
  await refused(other, /other\.db was not restored: it was made by a newer version of this service: .+$/)
  // As an engine that is at work has it.
  openForeign(t, path, 'journal_mode = WAL').prepare('SELECT count(*) FROM JobExecutionLog').get()
  await refused(backup, /another program has .* open: nothing was restored$/)
})

t.test('a database that is too damaged to be opened is kept with its log, and replaced', async t => {
  const { path, database } = await openStore(t)
  const backup = join(t.testdirName, 'jobs.backup')
  t.match(await backedUp(path, backup), /^\d records$/)
  await database.close()
  writeFileSync(path, 'scrambled '.repeat(1000), { mode: 0o640 })
  writeFileSync(`${path}-wal`, 'a log')
  const keptAs = await restored(path, backup)
  t.match(readFileSync(keptAs, 'utf8'), /^scrambled/)
  t.equal(readFileSync(`${keptAs}-wal`, 'utf8'), 'a log')
  t.notOk(existsSync(`${path}-wal`))
  t.same(violationsOf(path), [])
})

t.test('a backup is restored where there was no database, also one that is a plain copy of the files', async t => {
  const { path, database } = await openStore(t)
  const elsewhere = join(t.testdirName, 'a', 'b', 'jobs.db')
  await database.close()
  const writer = new SqliteDatabase(path)
  writer.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  mkdirSync(join(t.testdirName, 'copy'))
  for (const name of ['', '-wal']) {
    writeFileSync(join(t.testdirName, 'copy', `jobs.db${name}`), readFileSync(path + name))
  }
  writer.close()
  t.equal(await restored(elsewhere, join(t.testdirName, 'copy', 'jobs.db')), 'none before')
  t.equal(await sqlite3(elsewhere, 'SELECT jobId FROM JobExecutionLog'), 'theirs')
})

t.test('what cannot be backed up is said in one line, and leaves nothing', async t => {
  const { path, database } = await openStore(t)
  await database.close()
  const backup = join(t.testdirName, 'jobs.backup')
  t.match(await backedUp(join(t.testdirName, 'none.db'), backup), /DATABASE_URL: cannot use .*none\.db: .+$/)
  t.match(await backedUp(path, join(t.testdirName, 'no', 'folder')), /cannot be written: .*ENOENT.*$/)
  const bytes = readFileSync(path)
  bytes.fill(0x5a, 4096 * 4, 4096 * 6)
  writeFileSync(path, bytes)
  t.match(
    await backedUp(path, backup), /jobs\.db was not backed up: (it is damaged: .+|database disk image is malformed)$/
  )
  t.same(readdirSync(t.testdirName).filter(name => name.includes('backup')), [])
})
