import { statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import type { ForeignProgram, RecordRow, TorturedDatabase } from './database.ts'
import type { Fault } from './nemesis.ts'

const connectTo = (path: string): ForeignProgram => {
  const database = new SqliteDatabase(path, { timeout: 0 })
  const versionOf = database.prepare<[string], number>('SELECT version FROM JobExecutionLog WHERE jobId = ?').pluck()
  const write = database.transaction((sql: string, jobId: string): number => {
    database.prepare(sql).run(jobId)
    return versionOf.get(jobId) ?? 0
  })
  return {
    write: async (sql, jobId) => {
      for (;;) {
        try {
          return write.immediate(sql, jobId)
        } catch (error) {
          if (!(error instanceof SqliteDatabase.SqliteError) || !error.code.startsWith('SQLITE_BUSY')) throw error
          await delay(5)
        }
      }
    },
    close: async () => { database.close() }
  }
}

const readRecords = (path: string): RecordRow[] => {
  const database = new SqliteDatabase(path, { readonly: true })
  try {
    return database.prepare<[], RecordRow>('SELECT jobId, status, version, cancelledAt FROM JobExecutionLog').all()
  } finally {
    database.close()
  }
}

const faultsOf = (path: string): Fault[] => [
  {
    name: 'disk full for a service',
    on: 'database',
    run: async ({ nodes }, random) => {
      const node = random.pick(nodes)
      await node.limitFiles(random.between(0, statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0))
      await delay(random.between(100, 2000))
      await node.limitFiles('unlimited')
    }
  },
  {
    name: 'a long transaction of another program',
    on: 'database',
    run: async (_victims, random) => {
      const database = new SqliteDatabase(path, { timeout: 2000 })
      try {
        database.exec('BEGIN IMMEDIATE')
        await delay(random.between(100, 3000))
        database.exec('ROLLBACK')
      } catch (error) {
        if (!(error instanceof SqliteDatabase.SqliteError)) throw error
      } finally {
        database.close()
      }
    }
  }
]

/** A file that all processes open. */
export const openSqlite = (folder: string): TorturedDatabase => {
  const path = join(folder, 'jobs.db')
  return {
    urlOf: () => Promise.resolve(`sqlite:${path}`),
    connect: () => connectTo(path),
    readRecords: async () => readRecords(path),
    faults: faultsOf(path),
    interruptsFeed: false,
    close: () => Promise.resolve()
  }
}
