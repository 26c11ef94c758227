import { type Ask, createClient } from '../helpers/client.ts'
import { bearer } from '../helpers/tokens.ts'
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

// Longer than a service may wait for others that are suspended.
const patienceMs = 12_000

/**
 * A client of the processes of a run, which takes the time of each request and never rejects. `waitMs`: for how
 * long the service was asked to wait. `abort` ends those under way and all later ones.
 */
export const createTimedClient = (): { ask: TimedClient, abort: () => void } => {
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
  return {
    ask: timedAsk,
    abort: () => { abortion.abort() }
  }
}
