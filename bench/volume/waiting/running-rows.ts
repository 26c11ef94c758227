import SqliteDatabase from 'better-sqlite3'
import { tenant } from '../../datasets.ts'

export type RunningRows = {
  /** Ends the jobs [from, to) as another program does. */
  endSome: (from: number, to: number) => void
  close: () => void
}

/** Writes running jobs `PREFIX-0`, `PREFIX-1` … into a database of the service, as another program does. */
export const writeRunningRows = (path: string, prefix: string, count: number): RunningRows => {
  const database = new SqliteDatabase(path)
  database.pragma('synchronous = OFF')
  database.exec(`INSERT OR IGNORE INTO JobExecutionLog (jobId, status, tenant)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${count - 1})
    SELECT '${prefix}-' || i, 'Running', '${tenant}' FROM n`)
  const end = database.prepare('UPDATE JobExecutionLog SET status = \'Succeeded\' WHERE jobId = ?')
  const endSome = database.transaction((from: number, to: number) => {
    for (let index = from; index < to; index += 1) end.run(`${prefix}-${index}`)
  })
  return { endSome, close: () => { database.close() } }
}
