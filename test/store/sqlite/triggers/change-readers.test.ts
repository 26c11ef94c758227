import t from 'tap'
import type { Change } from '../../../../src/store/change-log.ts'
import { openForeign, openStore } from '../../open.ts'
import { kindsOfStore } from '../migrations/adopted.ts'
import { makeFirstRelease } from '../migrations/releases.ts'
import { openForeignWriters } from './foreign-writers.ts'

const insert = (verb: string, tenant: string, more = '') =>
  `${verb} INTO JobExecutionLog (jobId, status, tenant) VALUES ('j', 'Queued', ${tenant})${more}`

const ours = insert('INSERT', "'acme'")

/**
 * What runs first, what runs then, and who could read the job before and after each change of that. A record that is
 * replaced by one of the same tenant counts as new, unless triggers are recursive.
 */
const cases: ReadonlyArray<[setup: string, sql: string, readers: string]> = [
  [ours, insert('REPLACE', "'other'"), 'acme > other'],
  [ours, insert('INSERT OR REPLACE', 'NULL'), 'acme > everyone'],
  [insert('INSERT', 'NULL'), insert('REPLACE', "'acme'"), 'everyone > acme'],
  [insert('INSERT', "''"), insert('REPLACE', "'acme'"), 'everyone > acme'],
  [ours, `${insert('REPLACE', "'other'")}, ('j', 'Running', 'third'), ('j', 'Queued', 'third')`,
    'acme > other, other > third, none > third'],
  [ours, insert('INSERT OR IGNORE', "'other'"), ''],
  [ours, `${insert('INSERT OR IGNORE', "'other'")}; UPDATE JobExecutionLog SET tenant = 'third'`, 'acme > third'],
  // The note of a row that was not replaced.
  [`${ours}; ${insert('INSERT OR IGNORE', "'other'")}`,
    `UPDATE JobExecutionLog SET tenant = 'third'; ${insert('REPLACE', "'third'")}`, 'acme > third, none > third'],
  [`${ours}; ${insert('INSERT OR IGNORE', "'other'")}; DELETE FROM JobExecutionLog; DELETE FROM JobTombstone`,
    insert('INSERT', "'other'"), 'none > other'],
  [`${ours}; ${insert('INSERT OR IGNORE', "'other'")}; DELETE FROM JobExecutionLog; DELETE FROM JobTombstone;
    DELETE FROM JobChange`, insert('INSERT', "'other'"), 'none > other'],
  [`${ours}; DELETE FROM JobChange`, insert('REPLACE', "'other'"), 'acme > other'],
  [ours, insert('INSERT', "'other'", " ON CONFLICT (jobId) DO UPDATE SET status = 'Running'"), 'acme > acme'],
  [ours, insert('INSERT', "'other'", ' ON CONFLICT (jobId) DO UPDATE SET tenant = excluded.tenant'), 'acme > other'],
  [`${ours}; DELETE FROM JobExecutionLog`, insert('REPLACE', "'other'"), 'acme > other'],
  [ours, `DELETE FROM JobExecutionLog; ${insert('INSERT', "'acme'")}`, 'acme > none, acme > acme'],
  [ours, "UPDATE OR REPLACE JobExecutionLog SET tenant = 'other'", 'acme > other'],
  [ours, 'UPDATE JobExecutionLog SET seq = 7', 'acme > acme'],
  [ours, "UPDATE JobExecutionLog SET seq = 7, tenant = 'other'", 'acme > other, acme > other'],
  ['DELETE FROM JobExecutionLog', `INSERT INTO JobExecutionLog (jobId, status, tenant, seq, version)
    VALUES ('j', 'Queued', 'acme', 1, (SELECT max(version) + 1 FROM JobChange))`, 'none > acme, acme > acme'],
  // SQLite's text functions see nothing behind a NUL character.
  [insert('INSERT', "'acme' || char(0) || 'x'"), 'DELETE FROM JobExecutionLog', '"acme\\u0000x" > none']
]

const toText = (readers: Change['readersAfter']) => {
  if (readers === null || readers === 'everyone') return readers ?? 'none'
  return readers.tenant.includes('\0') ? JSON.stringify(readers.tenant) : readers.tenant
}

// Where triggers are recursive, REPLACE fires the delete trigger too, and leaves a tombstone for the insert trigger.
const found = (changes: readonly Change[], isReplace: boolean): string => changes
  .filter(({ readersAfter }) => !isReplace || readersAfter !== null)
  .map(({ readersBefore, readersAfter }) => `${toText(readersBefore)} > ${toText(readersAfter)}`)
  .join(', ')

for (const { kind, open } of kindsOfStore) {
  t.test(`the change log of ${kind} says who could read a job before and after each change`, async t => {
    const { path, store } = await open(t)
    for (const writer of openForeignWriters(t, path)) {
      for (const [setup, sql, readers] of cases) {
        await writer.run(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; ${setup}`)
        const follower = await store.changes.follow()
        await writer.run(sql)
        const { changes } = await follower.next(10)
        const expected = writer.isRecursive ? readers.replace('none > third', 'third > third') : readers
        t.equal(found(changes, /REPLACE/.test(sql)), expected, `${writer.name}: ${setup}; ${sql}`)
      }
    }
  })
}

t.test('of changes by the previous release, and before the migration, it is not known', async t => {
  const path = makeFirstRelease(t, 10)
  const foreign = openForeign(t, path)
  const unknown = { readersBefore: null, readersAfter: null }
  const columns = 'SELECT DISTINCT readersBefore, readersAfter FROM JobChange'
  const { store } = await openStore(t, path)
  t.same(foreign.prepare(columns).all(), [unknown])
  const follower = await store.changes.follow()
  // How its pruner writes the change of a tombstone.
  foreign.exec("INSERT INTO JobChange (jobId) VALUES ('gone')")
  t.match((await follower.next(10)).changes, [{ jobId: 'gone', ...unknown }])
  follower.accept()
  foreign.exec("UPDATE JobExecutionLog SET progressMessage = 'new' WHERE jobId = 'job-1'")
  const tenant = { tenant: 'tenant-1' }
  t.match((await follower.next(10)).changes, [{ jobId: 'job-1', readersBefore: tenant, readersAfter: tenant }])
})
