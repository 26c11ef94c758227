import { setTimeout as delay } from 'node:timers/promises'
import { type Answer, noAnswer } from './client.ts'
import type { End } from './history.ts'
import { ofTask, ofV1, type Revealed, type TaskJob, type V1Job } from './revealed.ts'
import type { ServiceProcess } from './service-process.ts'
import { isOfOther } from './recorder.ts'
import { type Actor, nextWatched } from './workload.ts'

/*
 * Clients that follow the events of a job.
 */

/** What a client got last of a job. */
type Last = { version: number, end: End | null, id: string | null }

const nothing: Last = { version: 0, end: null, id: null }

const versionOfId = (id: string | null): number | null => {
  const version = /^[0-9a-z]+\.(\d+)$/.exec(id ?? '')?.[1]
  return version === undefined ? null : Number(version)
}

const toRevealed = (isTask: boolean, version: number, data: string): Revealed => isTask
  ? ofTask((JSON.parse(data) as { data: TaskJob }).data)
  : ofV1(JSON.parse(data) as V1Job, version)

/**
 * Reads the events of a job at one process for at most so long, from the last one on if there was one. Each is a read,
 * and a wait for something newer than the one before. Returns the last.
 */
export const readEvents = async (
  { random, recorder, stream }: Actor, node: ServiceProcess, job: number, limitMs: number, known = nothing
): Promise<Last> => {
  const jobId = recorder.jobs[job] ?? ''
  const isTask = random.chance(0.5)
  const what = `events ${isTask ? 'task' : 'v1'}${known.id === null ? '' : ` after ${known.id}`}`
  let last = known
  const see = (startedAt: number, endedAt: number, waitMs: number, revealed: Revealed, above = last.version) => {
    const wait = { above, limitMs: waitMs }
    recorder.see({ kind: 'read', job, node: node.index, what, startedAt, endedAt, wait }, revealed)
  }
  const { end, answer } = await stream(
    node,
    isTask ? `/api/jobs/${jobId}/events` : `/api/v1/jobs/${jobId}/events`,
    { headers: known.id === null ? {} : { 'last-event-id': known.id }, limitMs },
    ({ event, id, data }, at, startedAt) => {
      const version = versionOfId(id)
      if (event !== 'status' || version === null) {
        recorder.complain(`${what}: ${event} ${id ?? 'without an id'} ${data}`)
        return false
      }
      const revealed = toRevealed(isTask, version, data)
      if (revealed.version !== version) recorder.complain(`${what}: version ${revealed.version} under the id ${id ?? ''}`)
      // To a database that has taken the place of another, the id of the last event means nothing.
      see(startedAt, at, Infinity, revealed, isOfOther(last.id, id) ? -1 : last.version)
      last = { version, end: revealed.end, id }
      return true
    }
  )
  const { startedAt, endedAt } = answer
  // What it had waited for until it left: nothing newer came.
  if (end === 'left' && last.end === null) see(startedAt, endedAt, endedAt - startedAt, { version: null, position: null, end: null })
  if (end === 'ended' && last.end === null) recorder.interrupt({ what, node: node.index, answer })
  if (end === 'cut') recorder.refuse({ what, node: node.index, answer: { ...answer, status: noAnswer.cut } })
  if (end === 'none') noteOther(recorder, { job, node, what, answer, known })
  if (end === 'cut') await delay(20)
  return last
}

/** No stream: the client knows the end already, the job is unknown, or the service cannot read it now. */
const noteOther = (
  recorder: Actor['recorder'],
  { job, node, what, answer, known }: { job: number, node: ServiceProcess, what: string, answer: Answer, known: Last }
): void => {
  const recorded = { kind: 'read' as const, job, node: node.index, what, answer }
  if (answer.status === 404) return recorder.read(recorded)
  if (answer.status !== 204) return recorder.refuse(recorded)
  if (known.end === null) recorder.complain(`${what}: 204 before the end of ${recorder.jobs[job] ?? ''}`)
}

/** Follows jobs that others drive and look at, again and again for a while, and goes on after the last event or anew. */
export const runStreamer = async (actor: Actor, node: ServiceProcess): Promise<void> => {
  const { random, isStopped } = actor
  const lasts = new Map<number, Last>()
  while (!isStopped()) {
    const job = await nextWatched(actor, node, 10)
    if (job === null) continue
    const known = random.chance(0.7) ? lasts.get(job) : undefined
    lasts.set(job, await readEvents(actor, node, job, random.between(100, 3000), known))
  }
}
