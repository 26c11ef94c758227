import type { Test } from 'tap'
import { sqlite3 } from '../../../helpers/databases.ts'
import { openForeign } from '../../open.ts'

/** A program that writes the table by itself; `run` rejects where the database refuses. */
export type ForeignWriter = { name: string, isRecursive: boolean, run: (sql: string) => Promise<void> }

const recursiveTriggers = ['OFF', 'ON'] as const

/** The sqlite3 program and another connection, each with delete triggers that do not fire for REPLACE, and that do. */
export const openForeignWriters = (t: Test, path: string): ForeignWriter[] => recursiveTriggers.flatMap(mode => {
  const connection = openForeign(t, path, `recursive_triggers = ${mode}`)
  const isRecursive = mode === 'ON'
  return [
    {
      name: `the sqlite3 program, recursive_triggers ${mode}`,
      isRecursive,
      run: async (sql: string) => { await sqlite3(path, `PRAGMA recursive_triggers = ${mode}; ${sql}`) }
    },
    {
      name: `another connection, recursive_triggers ${mode}`,
      isRecursive,
      run: async (sql: string) => { connection.exec(sql) }
    }
  ]
})

/** Whether the writer was refused. */
export const isRefused = (writer: ForeignWriter, sql: string): Promise<boolean> =>
  writer.run(sql).then(() => false, () => true)
