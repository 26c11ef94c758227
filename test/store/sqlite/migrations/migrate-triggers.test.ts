import t from 'tap'
import { jobOf } from '../../jobs.ts'
import { kindsOfStore } from './adopted.ts'
import { openForeign } from '../../open.ts'

for (const { kind, open } of kindsOfStore) {
  t.test(`every visible column of ${kind} draws one version`, async t => {
    const { path, changeLog } = await open(t)
    const foreign = openForeign(t, path)
    const unseen = ['jobId', 'version', 'seq', 'createdMs', 'endedMs', 'status', 'id', 'priority', 'payload']
      .map(name => name.toLowerCase())
    const columns = foreign.prepare<[], string>("SELECT name FROM pragma_table_info('JobExecutionLog')").pluck().all()
      .filter(name => !unseen.includes(name.toLowerCase()))
    t.equal(columns.length, 20)
    for (const column of columns) {
      foreign.exec(
        "DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Failed')"
      )
      const update = foreign.prepare(`UPDATE JobExecutionLog SET ${column} = 1`)
      const head = changeLog.head()
      update.run()
      t.equal(changeLog.head(), head + 1, column)
      update.run()
      t.equal(changeLog.head(), head + 1, `${column}, the same again`)
    }
  })

  t.test(`a creation that ${kind} fills in draws no second version`, async t => {
    const { path, changeLog, store } = await open(t)
    for (const mode of ['OFF', 'ON']) {
      const foreign = openForeign(t, path, `recursive_triggers = ${mode}`)
      const head = changeLog.head()
      foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, createdAt) VALUES ('${mode}', 'Running', NULL)`)
      t.equal(changeLog.head(), head + 1)
      foreign.exec(`UPDATE JobExecutionLog SET createdAt = NULL WHERE jobId = '${mode}'`)
      t.equal(changeLog.head(), head + 2)
      const job = jobOf(await store.jobs.find(mode))
      t.equal(job.version, head + 2)
      t.ok(job.createdAt > Date.now() - 60_000)
    }
  })

  t.test(`a cancellation stands only with a failure, in ${kind}`, async t => {
    const { path } = await open(t)
    const foreign = openForeign(t, path)
    foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Running')")
    t.throws(() => foreign.exec("UPDATE JobExecutionLog SET cancelledAt = '2026-01-31'"))
    t.throws(() => foreign.exec("UPDATE JobExecutionLog SET status = 'Succeeded', cancelledAt = '2026-01-31'"))
    t.throws(() => foreign.exec('UPDATE JobExecutionLog SET hasPartialResult = 2'))
    foreign.exec("UPDATE JobExecutionLog SET status = 'Failed', cancelledAt = '2026-01-31'")
  })

  t.test(`no form of createdAt stops a statement on ${kind}`, async t => {
    const { path } = await open(t)
    const foreign = openForeign(t, path)
    const insert = foreign.prepare('INSERT INTO JobExecutionLog (jobId, status, createdAt) VALUES (?, ?, ?)')
    const createdMs = foreign.prepare<[string], number>('SELECT createdMs FROM JobExecutionLog WHERE jobId = ?').pluck()
    const forms = [
      'now', 'NOW', 'now ', '2026-01-31 now', '2026-01-31T12:00:00 localtime', '2026-1-31', '2026-13-41',
      '2026-01-31T12:00:00\0x', 'soon', '', ' ', '12:00', 'auto', 'subsec', '2026', 'x'.repeat(100_000), `2026-01-31${' '.repeat(100_000)}`
    ]
    for (const [index, form] of forms.entries()) {
      const before = Date.now()
      insert.run(`j-${index}`, 'Running', form)
      foreign.prepare('UPDATE JobExecutionLog SET createdAt = createdAt || ? WHERE jobId = ?').run('', `j-${index}`)
      const found = createdMs.get(`j-${index}`) ?? 0
      t.ok(found >= before && found <= Date.now(), JSON.stringify(form.slice(0, 40)))
    }
    foreign.exec('REINDEX')
    t.equal(foreign.pragma('integrity_check', { simple: true }), 'ok')
  })

  t.test(`bytes of a job that is gone from ${kind} wait to be forgotten, its other things are gone`, async t => {
    const { path } = await open(t)
    const foreign = openForeign(t, path)
    const orphans = foreign.prepare('SELECT holder, id, forgetAt FROM OrphanedBytes ORDER BY holder')
    const forgotten = [
      { holder: 'JobInputChunk', id: 'i-1', forgetAt: 0 }, { holder: 'JobResultChunk', id: 'j', forgetAt: 0 }
    ]
    const fill = `
      DELETE FROM JobResultChunk; DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; DELETE FROM OrphanedBytes;
      INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Running'), ('other', 'Running');
      INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt) VALUES ('j', 'x', 1, 0);
      INSERT INTO JobInput (jobId, input, access, inputId) VALUES ('j', '', '{}', 'i-1'), ('other', '', '{}', 'i-2');
      INSERT INTO JobResult VALUES ('j', 'a/b', 'f', 1, 's', NULL);
      INSERT INTO JobResultChunk VALUES ('j', 0, x'01');
      INSERT INTO SanitizationEvent VALUES ('j', 'script', 1, '2026-01-31')`
    const statements = [
      "DELETE FROM JobExecutionLog WHERE jobId = 'j'",
      "INSERT OR REPLACE INTO JobExecutionLog (jobId, status) VALUES ('j', 'Queued')",
      "INSERT INTO OrphanedBytes VALUES ('JobInputChunk', 'i-1', 9), ('JobResultChunk', 'j', 9); DELETE FROM JobExecutionLog WHERE jobId = 'j'"
    ]
    for (const statement of statements) {
      foreign.exec(fill)
      t.same(orphans.all(), [])
      foreign.exec(statement)
      t.same(orphans.all(), forgotten, statement)
      for (const table of ['JobQueue', 'JobInput', 'JobResult', 'SanitizationEvent']) {
        t.equal(foreign.prepare(`SELECT count(*) FROM ${table} WHERE jobId = 'j'`).pluck().get(), 0, table)
      }
      t.equal(foreign.prepare('SELECT count(*) FROM JobResultChunk').pluck().get(), 1, 'in small portions, later')
    }
    foreign.exec(
      `${fill}; DELETE FROM JobInput WHERE jobId = 'other'; DELETE FROM JobResultChunk; DELETE FROM JobExecutionLog WHERE jobId = 'other'`
    )
    t.same(orphans.all(), [{ holder: 'JobInputChunk', id: 'i-2', forgetAt: 0 }], 'no bytes, nothing to forget')
  })
}
