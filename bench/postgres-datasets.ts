import pg from 'pg'
import { openDatabase } from '../src/store/postgres/database.ts'
import { migrate } from '../src/store/postgres/migrations/migrate.ts'
import { finishedRows, tenant } from './datasets.ts'

/*
 * The rows of datasets.ts in a Postgres database, inserted without triggers and indexes for the same reasons.
 */

type Index = { name: string, definition: string }

const withoutTriggers = async (client: pg.Client, work: () => Promise<void>): Promise<void> => {
  const { rows } = await client.query<{ name: string }>(`
    SELECT tgname AS name FROM pg_trigger WHERE tgrelid = 'JobExecutionLog'::regclass AND NOT tgisinternal`)
  await client.query('ALTER TABLE JobExecutionLog DISABLE TRIGGER USER')
  await work()
  for (const { name } of rows) await client.query(`ALTER TABLE JobExecutionLog ENABLE ALWAYS TRIGGER ${name}`)
}

// That of the primary key stays.
const withoutIndexes = async (client: pg.Client, work: () => Promise<void>): Promise<void> => {
  const { rows } = await client.query<Index>(`
    SELECT indexname AS name, indexdef AS definition FROM pg_indexes
    WHERE tablename = 'jobexecutionlog' AND indexname <> 'jobexecutionlog_pkey'`)
  for (const { name } of rows) await client.query(`DROP INDEX ${name}`)
  await work()
  for (const { definition } of rows) await client.query(definition)
}

const insertRows = async (client: pg.Client, rows: number): Promise<void> => {
  await client.query(`
    INSERT INTO JobExecutionLog (jobId, type, status, tenant, submittedBy, createdAt, createdMs, startTime, attempt,
      progressPercent, version, seq)
    SELECT 'job-' || lpad(i::text, 8, '0'), 'report', 'Running', $2, $2,
      to_char(to_timestamp(1767225600 + i) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      (1767225600 + i)::bigint * 1000, '2026-06-01T00:00:00.000Z', 1, 40, i + 1, i + 1
    FROM generate_series(0, $1::int - 1) AS i`, [rows, tenant])
  await client.query(`
    INSERT INTO JobExecutionLog (jobId, type, status, tenant, createdAt, createdMs, startTime, endTime, endedMs,
      attempt, progressPercent, version, seq)
    SELECT 'done-' || lpad(i::text, 8, '0'), 'report', 'Succeeded', $3, '2026-06-01T00:00:00.000Z',
      JobTime('2026-06-01T00:00:00.000Z'), '2026-06-01T00:00:00.000Z', '2026-06-01T00:01:00.000Z',
      JobTime('2026-06-01T00:01:00.000Z'), 1, 100, $1::int + i + 1, $1::int + i + 1
    FROM generate_series(0, $2::int - 1) AS i`, [rows, finishedRows, tenant])
  await client.query("SELECT setval('JobVersion', $1)", [rows + finishedRows])
}

/** Migrates an empty database and fills it with `rows` running jobs. */
export const fillPostgres = async (url: string, rows: number): Promise<void> => {
  const database = openDatabase(url)
  await migrate(database.writer)
  await database.close()
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await withoutTriggers(client, () => withoutIndexes(client, () => insertRows(client, rows)))
    await client.query('VACUUM (FREEZE, ANALYZE)')
    await client.query('CHECKPOINT')
  } finally {
    await client.end()
  }
}
