import { setTimeout as delay } from 'node:timers/promises'
import { noAnswer, type TimedClient, type TimedStream } from './client.ts'
import type { OpenBursts } from './bursts.ts'
import type { Random } from '../helpers/random.ts'
import type { Recorder } from './recorder.ts'
import { ofV1, type V1Job } from './revealed.ts'
import type { ServiceProcess } from './service-process.ts'

/** All that acts on the service acts on this. */
export type Stage = {
  nodes: readonly ServiceProcess[]
  ask: TimedClient
  stream: TimedStream
  openBursts: OpenBursts
  recorder: Recorder
  /** The jobs that were claimed last. */
  watched: number[]
  /** The one that each foreign writer works on. */
  watchedForeign: number[]
  isStopped: () => boolean
  /** Whether the processes recover: clients then send slowly, so that the load does not delay the recovery. */
  isRecovering: () => boolean
}

export type Actor = Stage & { random: Random }

/** A process that seems to listen. */
export const pickNode = ({ nodes, random }: Actor): ServiceProcess => {
  const up = nodes.filter(node => node.isUp())
  return random.pick(up.length > 0 ? up : nodes)
}

/** Asks one process for a job. Returns the ETag of the response. */
export const poll = async (
  actor: Actor, node: ServiceProcess, job: number, tag: string | null
): Promise<string | null> => {
  const { random, ask, recorder } = actor
  const jobId = recorder.jobs[job] ?? ''
  const isTask = random.chance(0.5)
  const answer = await ask(node, isTask ? `/api/jobs/${jobId}/status` : `/api/v1/jobs/${jobId}`, {
    method: !isTask && random.chance(0.2) ? 'HEAD' : 'GET',
    headers: tag === null ? {} : { 'if-none-match': tag }
  })
  recorder.read({
    kind: 'read',
    job,
    node: node.index,
    what: `poll ${isTask ? 'task' : 'v1'}${tag === null ? '' : ` with ${tag}`}`,
    tag: tag ?? undefined,
    answer
  })
  if (answer.status === noAnswer.cut || answer.status === noAnswer.aborted) await delay(20)
  return answer.headers.etag ?? null
}

/** Pauses for at most some ms, longer after a fault, and picks a job to ask this process about; null: there is none now. */
export const nextWatched = async (
  { random, watched, watchedForeign, isRecovering }: Actor, node: ServiceProcess, pauseMsMax: number
): Promise<number | null> => {
  await delay(isRecovering() ? 50 : random.between(0, pauseMsMax))
  const of = random.chance(0.3) ? watchedForeign : watched
  const job = of[random.between(0, of.length - 1)]
  if (job !== undefined && node.isUp()) return job
  await delay(20)
  return null
}

/** Polls one process over and over, with the newest ETag it has of a job or without. */
export const runPoller = async (actor: Actor, node: ServiceProcess, withTags: boolean): Promise<void> => {
  const { isStopped } = actor
  const tags = new Map<number, string>()
  while (!isStopped()) {
    const job = await nextWatched(actor, node, 3)
    if (job === null) continue
    const tag = await poll(actor, node, job, withTags ? tags.get(job) ?? null : null)
    if (tag !== null) tags.set(job, tag)
  }
}

/** Asks one process for all that is watched, over and over. */
export const runLister = async (actor: Actor, node: ServiceProcess): Promise<void> => {
  const { random, ask, recorder, watched, watchedForeign, isStopped, isRecovering } = actor
  while (!isStopped()) {
    await delay(isRecovering() ? 50 : random.between(0, 30))
    const asked = [...new Set([...watched, ...watchedForeign])].filter(job => recorder.jobs[job] !== undefined)
    if (asked.length === 0 || !node.isUp()) continue
    const answer = await ask(node, `/api/v1/jobs?ids=${asked.map(job => recorder.jobs[job]).join(',')}`)
    recorder.readMany(asked, { kind: 'read', node: node.index, what: 'list', answer })
  }
}

/**
 * Submits a job and repeats it under its key until it is acknowledged; with `seconds`, once it has ended or so long
 * afterwards. No second job may come of it.
 */
const submit = async (actor: Actor, key: string, seconds: number | null): Promise<void> => {
  const { ask, recorder } = actor
  const limitMs = (seconds ?? 0) * 1000
  const path = seconds === null ? '/api/v1/jobs' : `/api/v1/jobs?wait=${seconds}`
  for (;;) {
    const node = pickNode(actor)
    const answer = await ask(node, path, {
      method: 'POST',
      headers: { 'idempotency-key': key },
      body: { type: 'torture', input: key, maxAttempts: 3 },
      waitMs: limitMs
    })
    if (answer.status === 202) {
      const accepted = JSON.parse(answer.text) as V1Job
      const job = recorder.toMadeJob(accepted.jobId)
      const { startedAt, endedAt } = answer
      const wait = seconds === null ? undefined : { above: null, limitMs }
      const what = seconds === null ? 'submit' : `submit and wait ${seconds} s`
      recorder.checkGrant({ what, wait, answer })
      const revealed = ofV1(accepted, null)
      recorder.see({ kind: 'write', job, node: node.index, what, startedAt, endedAt, ...wait && { wait } }, {
        ...revealed, position: revealed.position ?? 0
      })
      await readBack(actor, job)
      return
    }
    if (answer.status === noAnswer.aborted) return
    recorder.refuse({ what: 'submit', node: node.index, answer })
    await delay(50)
  }
}

/** A client that got an acknowledgement polls another process at once. */
export const readBack = async (actor: Actor, job: number): Promise<void> => {
  if (actor.random.chance(0.5)) await poll(actor, pickNode(actor), job, null)
}

/** Keeps some jobs on their way. `waits`: stays until they have ended, or for some seconds. */
export const runSubmitter = async (
  actor: Actor, { name, waits, isWanted }: { name: string, waits: boolean, isWanted: () => boolean }
): Promise<void> => {
  for (let count = 0; !actor.isStopped(); count++) {
    if (isWanted()) await submit(actor, `${name}-${count}`, waits ? actor.random.between(1, 4) : null)
    await delay(actor.random.between(5, 60))
  }
}

/** Cancels a job now and then. */
export const runCanceller = async (actor: Actor): Promise<void> => {
  const { ask, recorder, random, watched, isStopped } = actor
  while (!isStopped()) {
    await delay(random.between(100, 500))
    const job = watched[random.between(0, watched.length - 1)]
    const jobId = recorder.jobs[job ?? -1]
    if (job === undefined || jobId === undefined) continue
    const node = pickNode(actor)
    const answer = await ask(node, `/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })
    const recorded = { kind: 'write', job, node: node.index, what: 'cancel', answer } as const
    if (answer.status === 200 || answer.status === 202) recorder.write(recorded)
    else recorder.refuse(recorded, [409])
  }
}
