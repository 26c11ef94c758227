import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import type { Actor } from './workload.ts'

/** Runs SQL as another program would, outside the service and without knowing it, and records what was written when. */
export const openForeign = (databasePath: string, recorder: Actor['recorder']) => {
  const database = new SqliteDatabase(databasePath, { timeout: 0 })
  const versionOf = database.prepare<[string], number>('SELECT version FROM JobExecutionLog WHERE jobId = ?').pluck()
  const write = database.transaction((sql: string, jobId: string): number | undefined => {
    database.prepare(sql).run(jobId)
    return versionOf.get(jobId)
  })
  return {
    /** Tried again while the database is busy. */
    write: async (job: number, sql: string): Promise<void> => {
      for (;;) {
        try {
          const version = write.immediate(sql, recorder.jobs[job] ?? '') ?? 0
          recorder.foreignWrites.push({ job, version, committedAt: performance.now() })
          recorder.made.add(job)
          return
        } catch (error) {
          if (!(error instanceof SqliteDatabase.SqliteError) || !error.code.startsWith('SQLITE_BUSY')) throw error
          await delay(5)
        }
      }
    },
    close: () => { database.close() }
  }
}

/** Drives rows of its own through their lives; they are looked for before they are there. */
export const runForeignWriter = async (
  actor: Actor, { databasePath, index }: { databasePath: string, index: number }
): Promise<void> => {
  const { recorder, random, isStopped } = actor
  const { write, close } = openForeign(databasePath, recorder)
  try {
    for (let count = 0; !isStopped(); count++) {
      const job = recorder.toJob(`foreign-${index}-${count}`)
      actor.watchedForeign[index] = job
      await delay(random.between(20, 300))
      await write(job, "INSERT INTO JobExecutionLog (jobId, status) VALUES (?, 'Running')")
      for (let step = random.between(1, 8); step > 0 && !isStopped(); step--) {
        await delay(random.between(50, 900))
        await write(
          job, 'UPDATE JobExecutionLog SET progressPercent = COALESCE(progressPercent, 0) + 5 WHERE jobId = ?'
        )
      }
      await write(job, `UPDATE JobExecutionLog SET status = '${random.pick(['Succeeded', 'Failed'])}' WHERE jobId = ?`)
    }
  } finally {
    close()
  }
}
