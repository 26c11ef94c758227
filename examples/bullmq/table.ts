/*
 * The table JobExecutionLog of the service, written as any program may write it (docs/foreign-rows.md).
 */

/** A job as the table shows it. A null leaves a type and a progress as they are. */
export type Row = {
  jobId: string
  type: string | null
  status: 'Queued' | 'Running' | 'Succeeded' | 'Failed'
  tenant: string | null
  createdAt: string | null
  startTime: string | null
  endTime: string | null
  progressPercent: number | null
  resultUrl: string | null
  errorDetails: string | null
}

/** The statements on the table. */
export type Table = {
  /** Returns the status that the row has then: an end stays, whatever comes later. */
  write: (row: Row) => Promise<string | undefined>
  /** Ids of rows that have not ended, and begin like this. */
  unfinished: (prefix: string) => Promise<string[]>
  /** Removes a row that has not ended. */
  remove: (jobId: string) => Promise<void>
  close: () => Promise<void>
}

/** Executes a statement with its values $1, $2, … and returns the rows. */
type Execute = (sql: string, values: readonly unknown[]) => Promise<Array<Record<string, unknown>>>

const update = `UPDATE JobExecutionLog SET type = COALESCE($2, type), status = $3, startTime = COALESCE($6, startTime),
  endTime = $7, progressPercent = COALESCE(CAST($8 AS REAL), progressPercent), resultUrl = $9, errorDetails = $10
  WHERE jobId = $1 AND status IN ('Queued', 'Running')`

const insert = `INSERT INTO JobExecutionLog
    (jobId, type, status, tenant, createdAt, startTime, endTime, progressPercent, resultUrl, errorDetails)
  SELECT $1, $2, $3, $4, $5, $6, $7, CAST($8 AS REAL), $9, $10
  WHERE NOT EXISTS (SELECT 1 FROM JobExecutionLog WHERE jobId = $1) ON CONFLICT (jobId) DO NOTHING`

const used = (sql: string): number[] => Array.from(sql.matchAll(/\$(\d+)/g), ([, number]) => Number(number))

const createTable = (execute: Execute, close: () => Promise<void>): Table => ({
  write: async row => {
    const { jobId } = row
    const values = [
      jobId, row.type, row.status, row.tenant, row.createdAt, row.startTime, row.endTime, row.progressPercent,
      row.resultUrl, row.errorDetails
    ]
    await execute(update, values)
    await execute(insert, values)
    const [found] = await execute('SELECT status FROM JobExecutionLog WHERE jobId = $1', [jobId])
    return found?.status as string | undefined
  },
  unfinished: async prefix => {
    const rows = await execute(
      `SELECT jobId AS id FROM JobExecutionLog
        WHERE status IN ('Queued', 'Running') AND substr(jobId, 1, CAST($2 AS INTEGER)) = $1`,
      [prefix, prefix.length]
    )
    return rows.map(({ id }) => id as string)
  },
  remove: async jobId => {
    await execute("DELETE FROM JobExecutionLog WHERE jobId = $1 AND status IN ('Queued', 'Running')", [jobId])
  },
  close
})

// Node's own SQLite: the mirror then needs no package for it.
const openSqlite = async (path: string): Promise<Table> => {
  const { DatabaseSync } = await import('node:sqlite')
  // Nothing else runs while a statement waits; what fails is written again.
  const database = new DatabaseSync(path, { timeout: 1000 })
  const execute: Execute = async (sql, values) => {
    const statement = database.prepare(sql.replace(/\$\d+/g, '?'))
    const given = used(sql).map(number => values[number - 1] as string | number | null)
    return statement.all(...given)
  }
  return createTable(execute, async () => { database.close() })
}

const openPostgres = async (url: string): Promise<Table> => {
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  // A connection that breaks while it is idle: the next statement opens another.
  pool.on('error', () => {})
  const execute: Execute = async (sql, values) => {
    // Postgres counts the values that a statement does not use.
    const numbers = [...new Set(used(sql))].sort((one, other) => one - other)
    const text = sql.replace(/\$(\d+)/g, (_, number) => `$${numbers.indexOf(Number(number)) + 1}`)
    return (await pool.query(text, numbers.map(number => values[number - 1]))).rows as Array<Record<string, unknown>>
  }
  return createTable(execute, () => pool.end())
}

/** Opens the table in the database of the service; `url` is its DATABASE_URL. */
export const openTable = async (url: string): Promise<Table> =>
  /^postgres(ql)?:/.test(url) ? await openPostgres(url) : await openSqlite(url.replace(/^sqlite:/, ''))
