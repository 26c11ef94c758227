import { type Kysely, sql } from 'kysely'
import { commonTime, readable, recordedTime } from './0006-recorded-time.ts'
import type { RecordColumn } from './record-columns.ts'

/*
 * The times of creation and of the end as numbers, read from every notation that other programs write.
 *
 * Until here `createdMs` was what the date functions of SQLite make of createdAt. A trigger fills it now, and
 * `endedMs` beside it, with what the service reads. The new createdMs takes the name of the old one, so that the
 * previous release goes on with its statements, on the same indexes, and an insert writes no index more.
 *
 * createdMs is null in no row: without a readable createdAt it is the time at which the row was inserted. endedMs is
 * createdMs where there is no endTime, and null where the endTime cannot be read: such a row is not pruned.
 */

/** A column of that name in a table of another program holds something else, so none is taken over. */
export const recordColumns: readonly RecordColumn[] = []

type SchemaObject = { type: string, name: string, sql: string }

// DROP COLUMN fails if any trigger of the file is broken, whatever its table, and if a view names the column. And
// triggers of another program would take the reading for changes by its programs.
const withoutTriggersAndViews = async (db: Kysely<unknown>, work: () => Promise<unknown>): Promise<void> => {
  const { rows } = await sql<SchemaObject>`
    SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY rowid`.execute(db)
  for (const { type, name } of rows.toSorted((a, b) => a.type.localeCompare(b.type))) {
    await sql`DROP ${sql.raw(type)} ${sql.id(name)}`.execute(db)
  }
  await work()
  for (const object of rows) await sql.raw(object.sql).execute(db)
}

const columns = [
  sql`DROP INDEX JobExecutionLog_tenantCreated`,
  sql`DROP INDEX JobExecutionLog_created`,
  sql`ALTER TABLE JobExecutionLog DROP COLUMN createdMs`,
  sql`ALTER TABLE JobExecutionLog ADD COLUMN createdMs INTEGER CHECK (createdMs IS NULL
    OR (typeof(createdMs) = 'integer' AND createdMs BETWEEN -62167219200000 AND 253402300799999))`,
  sql`ALTER TABLE JobExecutionLog ADD COLUMN endedMs INTEGER`
]

const nowMs = "CAST(strftime('%s', 'now') AS INTEGER) * 1000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)"

const isGiven = (column: string): string => `(${column} IS NOT NULL AND ${column} <> '')`

const timeOf = (column: string, place: number): string =>
  `coalesce(${commonTime(column)}, (SELECT at FROM RecordedTime WHERE id = seq * 4 + ${place}))`

// Three rows for each record: 4 * seq has its creation, the next two its start and its end.
const readRows = (from: number, to: number) => ['createdAt', 'startTime', 'endTime'].map((column, place) => sql`
  INSERT INTO RecordedTime (id, value) SELECT seq * 4 + ${place}, ${sql.raw(readable(column))} FROM JobExecutionLog
  WHERE seq > ${from} AND seq <= ${to} AND ${sql.raw(isGiven(column))} AND ${sql.raw(commonTime(column))} IS NULL`)

// Of a record that is there, the nearest time that is known.
const writeRows = (from: number, to: number) => sql`
  UPDATE JobExecutionLog SET createdMs = found.created,
    endedMs = CASE WHEN found.hasEnd THEN found.ended ELSE found.created END
  FROM (
    SELECT seq AS id, ${sql.raw(isGiven('endTime'))} AS hasEnd, ${sql.raw(timeOf('endTime', 2))} AS ended,
      coalesce(${sql.raw(timeOf('createdAt', 0))}, ${sql.raw(timeOf('startTime', 1))}, ${sql.raw(timeOf('endTime', 2))},
        ${sql.raw(nowMs)}) AS created
    FROM JobExecutionLog WHERE seq > ${from} AND seq <= ${to}) AS found
  WHERE JobExecutionLog.seq = found.id`

// So many rows at once, for the file to grow by a few megabytes at most.
const rowsAtOnce = 5000

const readAllRows = async (db: Kysely<unknown>): Promise<void> => {
  for (let from = 0; ;) {
    const { rows: [next] } = await sql<{ to: number | null }>`SELECT max(seq) AS "to" FROM (
      SELECT seq FROM JobExecutionLog WHERE seq > ${from} ORDER BY seq LIMIT ${rowsAtOnce})`.execute(db)
    const to = next?.to ?? null
    if (to === null) return
    const statements = [...readRows(from, to), writeRows(from, to), sql`DELETE FROM RecordedTime`]
    for (const statement of statements) await statement.execute(db)
    from = to
  }
}

// For the triggers: the first is for a createdAt, the second for an endTime.
const scratch = sql`INSERT INTO RecordedTime (id) VALUES (1), (2)`

const indexes = [
  sql`CREATE INDEX JobExecutionLog_tenantCreated ON JobExecutionLog (tenant, createdMs, seq)`,
  sql`CREATE INDEX JobExecutionLog_created ON JobExecutionLog (createdMs, seq)`,
  // JobExecutionLog_ended and JobExecutionLog_endedElsewhere stay for the pruner of the previous release.
  sql`CREATE INDEX JobExecutionLog_endedMs ON JobExecutionLog (endedMs, seq)
      WHERE status IN ('Succeeded', 'Failed') AND submittedBy > ''`,
  sql`CREATE INDEX JobExecutionLog_endedMsElsewhere ON JobExecutionLog (endedMs, seq)
      WHERE status IN ('Succeeded', 'Failed') AND coalesce(submittedBy, '') = ''`
]

// The times of a row if all are null or in the common form: those of the service are.
const commonCreated = commonTime('NEW.createdAt')
const commonEnded = (created: string): string =>
  `CASE WHEN ${isGiven('NEW.endTime')} THEN ${commonTime('NEW.endTime')} ELSE ${created} END`

const ended = `CASE WHEN ${isGiven('NEW.endTime')} THEN found.ended ELSE found.created END`

/*
 * Reads what is not in the common form, fills in a createdAt that is null, and restores what another program writes
 * here. The insert trigger sets both columns too, so this one runs for inserts as well. It updates the row only where a
 * value differs, so that it ends where triggers are recursive.
 */
const onTimes = sql.raw(`
  CREATE TRIGGER JobExecutionLog_times AFTER UPDATE OF createdAt, endTime, createdMs, endedMs ON JobExecutionLog
  WHEN NOT coalesce(NEW.createdMs = ${commonCreated} AND NEW.endedMs = ${commonEnded('NEW.createdMs')}, 0)
  BEGIN
    UPDATE RecordedTime
      SET value = CASE id WHEN 1 THEN ${readable('NEW.createdAt')} ELSE ${readable('NEW.endTime')} END;
    UPDATE JobExecutionLog SET createdAt = coalesce(createdAt, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
      createdMs = found.created, endedMs = ${ended}
    FROM (
      SELECT CASE WHEN NEW.createdAt IS NULL THEN ${nowMs} ELSE coalesce((SELECT at FROM RecordedTime WHERE id = 1),
          CASE WHEN NEW.createdMs <> OLD.createdMs AND NEW.version IS OLD.version
            THEN RAISE(ABORT, 'createdMs is never changed') END,
          NEW.createdMs, OLD.createdMs, ${nowMs}) END AS created,
        (SELECT at FROM RecordedTime WHERE id = 2) AS ended) AS found
    WHERE jobId = NEW.jobId
      AND (createdAt IS NULL OR createdMs IS NOT found.created OR endedMs IS NOT ${ended});
  END`)

const timesOfInsert =
  `createdMs = coalesce(${commonCreated}, ${nowMs}), endedMs = ${commonEnded(commonCreated)}`

const fillsCreatedAt =
  /UPDATE JobExecutionLog SET createdAt = strftime\('[^']*', 'now'\)\s+WHERE jobId = NEW\.jobId AND createdAt IS NULL;/g

/*
 * The insert trigger sets the columns in the update that it makes anyway: another one would write each index entry
 * again. And since JobExecutionLog_times fills in the createdAt, the triggers of inserts and updates no longer do:
 * every update of a row would have to prepare JobExecutionLog_times for it, which takes a quarter of a millisecond.
 */
const edits: ReadonlyArray<{ trigger: string, replace: RegExp, by: string }> = [
  {
    trigger: 'JobExecutionLog_inserted',
    replace: /seq = last_insert_rowid\(\)(?= WHERE)/g,
    by: `seq = last_insert_rowid(), ${timesOfInsert}`
  },
  { trigger: 'JobExecutionLog_inserted', replace: fillsCreatedAt, by: '' },
  { trigger: 'JobExecutionLog_updated', replace: fillsCreatedAt, by: '' },
  // Created again after JobExecutionLog_updated, since it has to run before it.
  { trigger: 'JobExecutionLog_seq_update', replace: /^/g, by: '' }
]

const editTriggers = async (db: Kysely<unknown>): Promise<void> => {
  for (const { trigger, replace, by } of edits) {
    const { rows: [found] } = await sql<{ sql: string }>`
      SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ${trigger}`.execute(db)
    if (found?.sql.match(replace)?.length !== 1) throw new Error(`the trigger ${trigger} is not as it was made`)
    await sql`DROP TRIGGER ${sql.id(trigger)}`.execute(db)
    await sql.raw(found.sql.replace(replace, by)).execute(db)
  }
}

export const up = async (db: Kysely<unknown>): Promise<void> => {
  await withoutTriggersAndViews(db, async () => {
    for (const statement of [...columns, recordedTime]) await statement.execute(db)
    await readAllRows(db)
    for (const statement of [scratch, ...indexes]) await statement.execute(db)
  })
  await editTriggers(db)
  await onTimes.execute(db)
}
