import t from 'tap'
import { kindsOfStore } from '../migrations/adopted.ts'
import { isRefused, openForeignWriters } from './foreign-writers.ts'
import { openForeign, openStore } from '../../open.ts'

// Every way out of a terminal status that SQL offers. Each must be refused, or leave the status as it is.
const waysOut = (from: string, to: string): string[] => [
  `UPDATE JobExecutionLog SET status = '${to}' WHERE jobId = 'j'`,
  `UPDATE JobExecutionLog SET status = '${to}'`,
  `UPDATE JobExecutionLog SET status = '${to}', version = 1000000 WHERE jobId = 'j'`,
  `UPDATE JobExecutionLog SET (type, status) = ('x', '${to}')`,
  ...['REPLACE', 'IGNORE', 'FAIL', 'ROLLBACK', 'ABORT'].flatMap(clause => [
    `UPDATE OR ${clause} JobExecutionLog SET status = '${to}' WHERE jobId = 'j'`,
    `INSERT OR ${clause} INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}')`,
    `INSERT OR ${clause} INTO JobExecutionLog (jobId, status, version) VALUES ('k', 'Queued', 5), ('j', '${to}', 5)`
  ]),
  `REPLACE INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}')`,
  `REPLACE INTO JobExecutionLog (jobId, status) VALUES ('j', '${from}'), ('j', '${to}')`,
  `REPLACE INTO JobExecutionLog (jobId, status) SELECT jobId, '${to}' FROM JobExecutionLog`,
  `INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}') ON CONFLICT (jobId) DO UPDATE SET status = excluded.status`,
  `INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${from}') ON CONFLICT (jobId) DO UPDATE SET status = '${to}'`,
  `INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}') ON CONFLICT DO NOTHING`,
  `DELETE FROM JobExecutionLog; INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}')`,
  `DELETE FROM JobExecutionLog WHERE jobId = 'j'; REPLACE INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}')`,
  `DELETE FROM JobExecutionLog; INSERT OR IGNORE INTO JobExecutionLog (jobId, status) VALUES ('j', '${to}')`,
  `DELETE FROM JobExecutionLog; INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${from}'); UPDATE JobExecutionLog SET status = '${to}'`,
  "UPDATE OR REPLACE JobExecutionLog SET jobId = 'j' WHERE jobId = 'other'",
  "UPDATE JobExecutionLog SET jobId = 'moved' WHERE jobId = 'j'",
  "UPDATE OR REPLACE JobExecutionLog SET rowid = (SELECT rowid FROM JobExecutionLog WHERE jobId = 'j') WHERE jobId = 'other'",
  "REPLACE INTO JobExecutionLog (rowid, jobId, status) SELECT rowid, 'thief', 'Queued' FROM JobExecutionLog WHERE jobId = 'j'"
]

// The rowid of an insert that names none reads as -1 before it happens, so negative ones would be a way round.
const negativeRowids = [-1, -2, -1000].map(rowid =>
  `INSERT INTO JobExecutionLog (rowid, jobId, status) VALUES (${rowid}, 'below', 'Succeeded')`)

for (const { kind, open } of kindsOfStore) {
  t.test(`on ${kind}`, async t => {
    const { path, store, changeLog } = await open(t)
    const between = openForeign(t, path)

    const statusOf = async (jobId: string): Promise<string> => {
      const lookup = await store.jobs.find(jobId)
      return lookup.kind === 'job' ? lookup.job.state : lookup.kind
    }

    for (const writer of openForeignWriters(t, path)) {
      t.test(`a terminal status is never left by ${writer.name}`, async t => {
        for (const [from, to] of [['Succeeded', 'Failed'], ['Failed', 'Queued']] as const) {
          await t.test(`${from} to ${to}`, async t => {
            for (const sql of waysOut(from, to)) {
              between.exec(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone;
                INSERT INTO JobExecutionLog (jobId, status) VALUES ('other', 'Running'), ('j', '${from}')`)
              const head = changeLog.head()
              await isRefused(writer, sql)
              const state = await statusOf('j')
              t.ok([from.toLowerCase(), 'tombstone'].includes(state), `${sql}: ${state}`)
              t.notOk(state === 'tombstone' && !sql.startsWith('DELETE'), 'nothing but DELETE deletes')
              if (!sql.startsWith('DELETE') && !sql.includes('OR FAIL')) t.equal(changeLog.head(), head, 'as a whole')
            }
          })
        }
      })

      t.test(`a row is never put where another could displace it unseen, by ${writer.name}`, async t => {
        for (const sql of negativeRowids) t.ok(await isRefused(writer, sql), sql)
      })

      t.test(`${writer.name} may insert a deleted row again, unless it was terminal with another status`, async t => {
        const reborn = async (before: string, after: string, verb = 'INSERT') => {
          between.exec(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone;
            INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', '${before}'); DELETE FROM JobExecutionLog`)
          return !await isRefused(writer, `${verb} INTO JobExecutionLog (jobId, status) VALUES ('j', '${after}')`)
        }
        for (const verb of ['INSERT', 'REPLACE']) {
          for (const before of ['Queued', 'Running']) {
            for (const after of ['Queued', 'Running', 'Succeeded', 'Failed']) {
              t.ok(await reborn(before, after, verb), `${verb}: ${before}, ${after}`)
            }
          }
          for (const before of ['Succeeded', 'Failed']) {
            for (const after of ['Queued', 'Running', 'Succeeded', 'Failed']) {
              t.equal(await reborn(before, after, verb), before === after, `${verb}: ${before}, ${after}`)
            }
          }
        }
      })

      t.test(`the schema refuses ${writer.name} what is no job`, async t => {
        await writer.run('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone')
        const insert = (jobId: string, status: string, more = '') =>
          `INSERT INTO JobExecutionLog (jobId, status${more && ', progressPercent'}) VALUES (${jobId}, ${status}${more})`
        const refused = [
          insert("'j'", "'Paused'"), insert("'j'", "'queued'"), insert("'j'", "''"), insert("'j'", 'NULL'),
          insert("'j'", '1'),
          insert("''", "'Queued'"), insert('NULL', "'Queued'"), insert(`'${'a'.repeat(129)}'`, "'Queued'"),
          ...[
            "'a b'", "'a/b'", "'ä'", "'a\nb'", "'a%'", "'{a}'", "'a' || char(0) || 'b'", "'a' || char(0)", "x'61'",
            "'.'", "'..'"
          ].map(id => insert(id, "'Queued'")),
          insert("'j'", "'Running'", ', 101'), insert("'j'", "'Running'", ', -0.5'),
          insert("'j'", "'Running'", ", 'half'"),
          "INSERT INTO JobExecutionLog (jobId, status, attempt) VALUES ('j', 'Queued', -1)"
        ]
        const head = changeLog.head()
        for (const sql of refused) t.ok(await isRefused(writer, sql), sql)
        t.equal(changeLog.head(), head, 'and nothing of it stays')
        for (const jobId of ['a', 'Az09._~-', 'b'.repeat(128)]) {
          await writer.run(insert(`'${jobId}'`, "'Running'", ', 100'))
          t.equal(await statusOf(jobId), 'running')
        }
        t.ok(await isRefused(writer, "UPDATE JobExecutionLog SET status = 'Paused'"))
        t.ok(await isRefused(writer, "UPDATE JobExecutionLog SET version = NULL WHERE jobId = 'a'"))
        await writer.run("UPDATE OR IGNORE JobExecutionLog SET progressPercent = 101 WHERE jobId = 'a'").catch(() => {})
        t.match(await store.jobs.find('a'), { job: { progress: { percent: 100 } } })
      })
    }
  })
}

t.test('throws the error of a rejected statement of ours unchanged', async t => {
  const { transact } = await openStore(t)
  const values = { jobId: 'odd id', status: 'Queued' }
  await t.rejects(transact(tx => tx.insertInto('JobExecutionLog').values(values).execute()), {
    code: 'SQLITE_CONSTRAINT_CHECK'
  })
})
