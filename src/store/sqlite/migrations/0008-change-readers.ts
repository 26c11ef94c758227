import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * Who could read a job before and after each change: a follower of the changes learns that a job is gone for it, and
 * other tenants learn nothing.
 *
 * null: no one, because there was no record, or not known, because the change was made before this migration or by the
 * previous release. An empty text: every principal, because the record has no tenant. Else the tenant.
 *
 * What 0001, 0002 and 0004 say of triggers holds here too.
 */

/** Other programs write no row of JobChange. */
export const recordColumns: readonly RecordColumn[] = []

/*
 * No token has a tenant of more than 256 UTF-16 units, which take at most 768 bytes: what is cut off after one byte
 * more matches none. As bytes, because for a text substr() ends at a NUL, and the rest could be the tenant of others.
 */
const readersOf = (tenant: string): string =>
  `coalesce(CAST(substr(CAST(${tenant} AS BLOB), 1, 769) AS TEXT), '')`

// The log may have been pruned to its end. sqlite_sequence alone does not count what its own statement has inserted.
const newestChange =
  "coalesce((SELECT max(version) FROM JobChange), (SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'))"

/*
 * REPLACE removes a row before the AFTER trigger of the insertion runs, and fires no delete trigger unless triggers are
 * recursive. So this one notes whose the row is that may be replaced. It also runs for an insertion that is ignored or
 * becomes an update: the note is valid only until the next change. One row, so that nothing in it can conflict. None
 * is made where the tenant stays, so that an insertion that is ignored rarely writes anything.
 */
const noteReplaced = [
  sql`CREATE TABLE ReplacedRecord (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), jobId TEXT, readers TEXT, change INTEGER
  ) STRICT`,
  sql`INSERT INTO ReplacedRecord (id) VALUES (1)`,
  sql.raw(`
  CREATE TRIGGER JobExecutionLog_replaced BEFORE INSERT ON JobExecutionLog
  WHEN EXISTS (SELECT 1 FROM JobExecutionLog WHERE jobId = NEW.jobId AND tenant IS NOT NEW.tenant COLLATE BINARY)
  BEGIN
    UPDATE ReplacedRecord SET jobId = NEW.jobId, change = ${newestChange},
      readers = (SELECT ${readersOf('tenant')} FROM JobExecutionLog WHERE jobId = NEW.jobId);
  END`)
]

const readersBeforeInsert = `coalesce(
      (SELECT ${readersOf('tenant')} FROM JobTombstone WHERE jobId = NEW.jobId),
      (SELECT readers FROM ReplacedRecord WHERE jobId = NEW.jobId AND change = ${newestChange}))`

type Edit = { trigger: string, edits: ReadonlyArray<readonly [replace: string, by: string]> }

const insertChange = 'INSERT INTO JobChange (jobId) VALUES'
const insertChangeIf = 'INSERT INTO JobChange (jobId) SELECT NEW.jobId WHERE'
const insertWith = 'INSERT INTO JobChange (jobId, readersBefore, readersAfter)'
const deleteTombstone = 'DELETE FROM JobTombstone WHERE jobId = NEW.jobId;'
const updateRecord = 'UPDATE JobExecutionLog SET version'

const [before, after] = [readersOf('OLD.tenant'), readersOf('NEW.tenant')]
const updated: Edit['edits'][number] =
  [`${insertChange} (NEW.jobId)`, `${insertWith} VALUES (NEW.jobId, ${before}, ${after})`]

const triggers: readonly Edit[] = [
  {
    trigger: 'JobExecutionLog_inserted',
    edits: [
      // The tombstone is read first.
      [deleteTombstone, ''],
      [`${insertChange} (NEW.jobId)`, `${insertWith} VALUES (NEW.jobId, ${readersBeforeInsert}, ${after})`],
      [insertChangeIf, `${insertWith} SELECT NEW.jobId, ${after}, ${after} WHERE`],
      [updateRecord, `${deleteTombstone}\n    ${updateRecord}`]
    ]
  },
  { trigger: 'JobExecutionLog_updated', edits: [updated] },
  {
    trigger: 'JobExecutionLog_deleted',
    edits: [[`${insertChange} (OLD.jobId)`, `${insertWith} VALUES (OLD.jobId, ${before}, NULL)`]]
  },
  // Created after JobExecutionLog_updated, since it has to run before it.
  {
    trigger: 'JobExecutionLog_seq_update',
    edits: [updated, [insertChangeIf, `${insertWith} SELECT NEW.jobId, ${after}, ${after} WHERE`]]
  },
  // Keeps its place, too: SQLite runs the trigger that was created last first.
  { trigger: 'JobExecutionLog_times', edits: [] }
]

const editTriggers = async (db: Kysely<unknown>): Promise<void> => {
  for (const { trigger, edits } of triggers) {
    const { rows: [found] } = await sql<{ sql: string }>`
      SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ${trigger}`.execute(db)
    let text = found?.sql ?? ''
    for (const [replace, by] of edits) {
      const parts = text.split(replace)
      if (parts.length !== 2) throw new Error(`the trigger ${trigger} is not as it was made`)
      text = parts.join(by)
    }
    await sql`DROP TRIGGER ${sql.id(trigger)}`.execute(db)
    await sql.raw(text).execute(db)
  }
}

export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`ALTER TABLE JobChange ADD COLUMN readersBefore TEXT`.execute(db)
  await sql`ALTER TABLE JobChange ADD COLUMN readersAfter TEXT`.execute(db)
  for (const statement of noteReplaced) await statement.execute(db)
  await editTriggers(db)
}
