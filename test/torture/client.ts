import { type Ask, createClient } from '../helpers/client.ts'
import { openEvents, type ReceivedEvent } from '../helpers/events.ts'
import { bearer } from '../helpers/tokens.ts'
import { createOpenBursts, type OpenBursts } from './bursts.ts'
import type { ServiceProcess } from './service-process.ts'

/** The status of a request without a response: its connection ended, no response came in time, or the run was aborted. */
export const noAnswer = { cut: 0, late: -1, aborted: -2 } as const

/** A response and its times. Without a response the outcome of the request is unknown. */
export type Answer = {
  status: number, headers: Record<string, string>, text: string, startedAt: number, endedAt: number
}

export type TimedClient = (
  node: ServiceProcess, path: string, ask?: Pick<Ask, 'method' | 'headers' | 'body'> & { waitMs?: number }
) => Promise<Answer>

/**
 * How a stream ended: by the service after its last event, by the client, without that, or never begun because the
 * response was another one.
 */
export type StreamEnd = 'ended' | 'left' | 'cut' | 'none'

/** `startedAt`: before the request was sent. Called with each event and when it was there; false: the client leaves. */
export type OnEvent = (event: ReceivedEvent, at: number, startedAt: number) => boolean

/** Reads a stream of events for at most some ms. `answer` is the response, without the text of a stream. */
export type TimedStream = (
  node: ServiceProcess, path: string, follow: { headers: Record<string, string>, limitMs: number }, onEvent: OnEvent
) => Promise<{ end: StreamEnd, answer: Answer }>

/**
 * A client of the processes of a run, which takes the time of each request and never rejects. `patienceMs`: how long it
 * waits for an answer, beside the `waitMs` for which the service was asked to wait. `abort` ends those under way and all
 * later ones.
 */
export const createTimedClient = (patienceMs: number): {
  ask: TimedClient, stream: TimedStream, openBursts: OpenBursts, abort: () => void
} => {
  const abortion = new AbortController()
  const { authorization } = bearer({
    expiresIn: 24 * 3600 * 1000, tenant: 'torture', scope: 'jobs:read jobs:write jobs:work'
  })
  const timedAsk: TimedClient = async (node, path, { headers, waitMs = 0, ...more } = {}) => {
    const { ask } = createClient(`http://127.0.0.1:${node.port}`)
    const patience = AbortSignal.timeout(patienceMs + waitMs)
    const signal = AbortSignal.any([patience, abortion.signal])
    const startedAt = performance.now()
    try {
      const response = await ask(path, { ...more, headers: { authorization, ...headers }, signal })
      const text = await response.text()
      return {
        status: response.status,
        headers: Object.fromEntries(
          response.headers
        ),
        text,
        startedAt,
        endedAt: performance.now()
      }
    } catch {
      const status = abortion.signal.aborted ? noAnswer.aborted : patience.aborted ? noAnswer.late : noAnswer.cut
      return { status, headers: {}, text: '', startedAt, endedAt: performance.now() }
    }
  }
  const timedStream: TimedStream = async (node, path, { headers, limitMs }, onEvent) => {
    const client = createClient(`http://127.0.0.1:${node.port}`)
    const leaving = new AbortController()
    const timer = setTimeout(() => { leaving.abort() }, limitMs)
    const startedAt = performance.now()
    let answer: Answer = { status: noAnswer.cut, headers: {}, text: '', startedAt, endedAt: startedAt }
    const finish = (end: StreamEnd) => ({ end, answer: { ...answer, endedAt: performance.now() } })
    try {
      const { answer: response, next } = await openEvents(client, path, {
        headers: { authorization, accept: 'text/event-stream', ...headers },
        signal: AbortSignal.any([leaving.signal, abortion.signal])
      })
      answer = { ...answer, status: response.status, headers: Object.fromEntries(response.headers) }
      if (response.headers.get('content-type')?.startsWith('text/event-stream') !== true) {
        // Any other response is short, and it is no event.
        await next()
        return finish('none')
      }
      for (;;) {
        const event = await next()
        if (event === undefined) return finish('ended')
        if (!onEvent(event, performance.now(), startedAt)) return finish('left')
      }
    } catch {
      return finish(leaving.signal.aborted || abortion.signal.aborted ? 'left' : 'cut')
    } finally {
      clearTimeout(timer)
      leaving.abort()
    }
  }
  return {
    ask: timedAsk,
    stream: timedStream,
    openBursts: createOpenBursts({ authorization }, { aborted: abortion.signal, limitMs: patienceMs }),
    abort: () => { abortion.abort() }
  }
}
