import { setTimeout as delay } from 'node:timers/promises'
import { type Answer, noAnswer } from './client.ts'
import type { TorturedDatabase } from './database.ts'
import { openForeign } from './foreign-writer.ts'
import { versionOf } from './recorder.ts'
import type { ServiceProcess } from './service-process.ts'
import { readEvents } from './streamers.ts'
import { type Actor, nextWatched, poll } from './workload.ts'

/*
 * Clients that wait for changes in place of polling.
 */

/** `ifNoneMatch` null or `*`: waits for the end. */
const awaitChange = async (
  { random, ask, recorder }: Actor, node: ServiceProcess, job: number, ifNoneMatch: string | null, seconds: number
): Promise<Answer> => {
  const jobId = recorder.jobs[job] ?? ''
  const path = random.chance(0.5) ? `/api/jobs/${jobId}/status` : `/api/v1/jobs/${jobId}`
  const asParameter = random.chance(0.5)
  const limitMs = seconds * 1000
  const answer = await ask(node, asParameter ? `${path}?wait=${seconds}` : path, {
    headers: {
      ...asParameter ? {} : { prefer: `wait=${seconds}` }, ...ifNoneMatch === null ? {} : { 'if-none-match': ifNoneMatch }
    },
    waitMs: limitMs
  })
  recorder.read({
    kind: 'read',
    job,
    node: node.index,
    what: `wait${ifNoneMatch === null ? '' : ` with ${ifNoneMatch}`}`,
    tag: ifNoneMatch ?? undefined,
    answer,
    wait: { above: versionOf(ifNoneMatch ?? undefined), limitMs }
  })
  if (answer.status === noAnswer.cut || answer.status === noAnswer.aborted) await delay(20)
  return answer
}

/** Waits at one process for what happens to jobs that others drive and look at: for the next change, or for the end. */
export const runWaiter = async (actor: Actor, node: ServiceProcess): Promise<void> => {
  const { random, isStopped } = actor
  const tags = new Map<number, string>()
  while (!isStopped()) {
    const job = await nextWatched(actor, node, 10)
    if (job === null) continue
    const tag = random.chance(0.7) ? tags.get(job) : undefined
    const answer = await awaitChange(actor, node, job, tag ?? random.pick([null, '*']), random.between(1, 3))
    if (answer.headers.etag !== undefined) tags.set(job, answer.headers.etag)
  }
}

// Longer than it may take until a change is noticed.
const lonelySeconds = 6

const progress = 'UPDATE JobExecutionLog SET progressPercent = COALESCE(progressPercent, 0) + 5 WHERE jobId = ?'
const end = "UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = ?"

/**
 * Waits at one process for changes of rows that no other client asks for, so that nobody's reads wake it: by one long
 * poll after the other, or by their events.
 */
export const runLonelyWaiter = async (
  actor: Actor, node: ServiceProcess, { database }: { database: TorturedDatabase }
): Promise<void> => {
  const { recorder, random, isStopped } = actor
  const { write, close } = openForeign(actor, database)
  const writeWhileWaiting = async (job: number, ifNoneMatch: string | null, sql: string): Promise<Answer> => {
    const answer = awaitChange(actor, node, job, ifNoneMatch, lonelySeconds)
    await delay(random.between(0, 300))
    await write(job, sql)
    return await answer
  }
  const byPolls = async (job: number): Promise<void> => {
    let tag = await poll(actor, node, job, null)
    for (let step = random.between(0, 4); step > 0 && tag !== null && !isStopped(); step--) {
      const { headers } = await writeWhileWaiting(job, tag, progress)
      tag = headers.etag ?? tag
    }
    await writeWhileWaiting(job, random.pick([tag, null, '*']), end)
  }
  const byEvents = async (job: number): Promise<void> => {
    const reading = readEvents(actor, node, job, lonelySeconds * 1000)
    for (let step = random.between(0, 4); step > 0 && !isStopped(); step--) {
      await delay(random.between(0, 300))
      await write(job, progress)
    }
    await delay(random.between(0, 300))
    await write(job, end)
    await reading
  }
  try {
    for (let count = 0; !isStopped(); count++) {
      const job = recorder.toJob(`awaited-${node.index}-${count}`)
      await write(job, "INSERT INTO JobExecutionLog (jobId, status) VALUES (?, 'Running')")
      await (random.chance(0.5) ? byPolls : byEvents)(job)
    }
  } finally {
    await close()
  }
}
