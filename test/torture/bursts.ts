import { setTimeout as delay } from 'node:timers/promises'
import { createKeptSocket, readAnswer, valuesOf } from '../helpers/raw-http.ts'
import { type Answer, noAnswer } from './client.ts'
import type { ServiceProcess } from './service-process.ts'
import { type Actor, nextWatched } from './workload.ts'

/*
 * Clients that send many polls at once on a connection that is kept: a tenth of what fetch costs. The service answers
 * them in their order, and reads those that it finds together from the cache with one command.
 */

type Request = { path: string, headers: Record<string, string> }

export type Bursts = {
  /**
   * Sends requests at once. The answers in their order; those that follow one with which the service closed the
   * connection were not taken, and count as aborted.
   */
  send: (requests: readonly Request[]) => Promise<Answer[]>
  close: () => void
}

export type OpenBursts = (node: ServiceProcess) => Bursts

const toText = ({ path, headers }: Request): string =>
  `GET ${path} HTTP/1.1\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`

const unanswered = (status: number, startedAt: number): Answer =>
  ({ status, headers: {}, text: '', startedAt, endedAt: performance.now() })

/** `common`: the headers of every request; `aborted` ends those under way and all later ones. */
export const createOpenBursts = (
  common: Record<string, string>, { aborted, limitMs }: { aborted: AbortSignal, limitMs: number }
): OpenBursts => ({ port }) => {
  const socket = createKeptSocket(port)
  const send: Bursts['send'] = requests => new Promise(resolve => {
    const used = socket.current()
    const answers: Answer[] = []
    let received: Buffer = Buffer.alloc(0)
    let isClosing = false
    const finish = (status: number) => {
      clearTimeout(timer)
      used.off('data', take)
      used.off('close', onClose)
      aborted.removeEventListener('abort', onAbort)
      if (answers.length < requests.length || isClosing) socket.destroy()
      resolve(requests.map((_, index) => answers[index] ?? unanswered(status, startedAt)))
    }
    const take = (data: Buffer) => {
      received = received.length === 0 ? data : Buffer.concat([received, data])
      for (let raw = readAnswer(received, false); raw !== undefined; raw = readAnswer(received, false)) {
        received = received.subarray(raw.length)
        const { status, headers, body } = raw
        answers.push({
          status, headers: Object.fromEntries(headers), text: body.toString(), startedAt, endedAt: performance.now()
        })
        isClosing = valuesOf(raw, 'connection').includes('close')
        if (isClosing || answers.length === requests.length) return finish(noAnswer.aborted)
      }
    }
    const onClose = () => { finish(isClosing ? noAnswer.aborted : noAnswer.cut) }
    const onAbort = () => { finish(noAnswer.aborted) }
    const timer = setTimeout(() => { finish(noAnswer.late) }, limitMs)
    used.on('data', take)
    used.on('close', onClose)
    aborted.addEventListener('abort', onAbort)
    const text = requests.map(({ path, headers }) => toText({ path, headers: { host: 'a', ...common, ...headers } })).join('')
    const startedAt = performance.now()
    if (aborted.aborted) onAbort()
    else used.write(text)
  })
  return { send, close: socket.destroy }
}

const pick = ({ random, watched, watchedForeign }: Actor): number | undefined => {
  const of = random.chance(0.3) ? watchedForeign : watched
  return of[random.between(0, of.length - 1)]
}

type Polled = { job: number, tag: string | undefined, isTask: boolean }

const toPolled = (actor: Actor, tags: ReadonlyMap<number, string>): Polled[] => {
  const { random } = actor
  const job = pick(actor)
  if (job === undefined || actor.recorder.jobs[job] === undefined) return []
  return [{ job, tag: random.chance(0.5) ? tags.get(job) : undefined, isTask: random.chance(0.5) }]
}

/** Polls one process over and over, `size` requests at once at most, with the newest ETag of a job or without. */
export const runBurstPoller = async (actor: Actor, node: ServiceProcess, size: number): Promise<void> => {
  const { isStopped, openBursts, random, recorder } = actor
  const { send, close } = openBursts(node)
  const tags = new Map<number, string>()
  while (!isStopped()) {
    if (await nextWatched(actor, node, 3) === null) continue
    const polled = Array.from({ length: random.between(1, size) }, () => toPolled(actor, tags)).flat()
    const answers = await send(polled.map(({ job, tag, isTask }) => {
      const jobId = recorder.jobs[job] ?? ''
      return {
        path: isTask ? `/api/jobs/${jobId}/status` : `/api/v1/jobs/${jobId}`,
        headers: tag === undefined ? {} : { 'if-none-match': tag }
      }
    }))
    for (const [index, answer] of answers.entries()) {
      const { job, tag, isTask } = polled[index] as Polled
      const what = `poll ${isTask ? 'task' : 'v1'} in a burst${tag === undefined ? '' : ` with ${tag}`}`
      recorder.read({ kind: 'read', job, node: node.index, what, tag, answer })
      if (answer.headers.etag !== undefined) tags.set(job, answer.headers.etag)
    }
    if (answers.some(({ status }) => status === noAnswer.cut)) await delay(20)
  }
  close()
}
