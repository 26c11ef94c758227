import { setTimeout as delay } from 'node:timers/promises'
import type { TorturedDatabase } from './database.ts'
import type { Actor } from './workload.ts'

/** Runs SQL as another program would, and records what was written when. */
export const openForeign = ({ recorder, random }: Pick<Actor, 'recorder' | 'random'>, database: TorturedDatabase) => {
  const { write, close } = database.connect(random)
  return {
    write: async (job: number, sql: string): Promise<void> => {
      const version = await write(sql, recorder.jobs[job] ?? '')
      recorder.foreignWrites.push({ job, version, committedAt: performance.now() })
      recorder.made.add(job)
    },
    close
  }
}

/** Drives rows of its own through their lives; they are looked for before they are there. */
export const runForeignWriter = async (
  actor: Actor, { database, index }: { database: TorturedDatabase, index: number }
): Promise<void> => {
  const { recorder, random, isStopped } = actor
  const { write, close } = openForeign(actor, database)
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
    await close()
  }
}
