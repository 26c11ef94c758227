import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyServerFactory } from 'fastify'
import type { Logger } from 'pino'
import { ServiceFailure } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { createEndOfTurn } from './end-of-turn.ts'
import { pathOf, toFailureAnswer } from './problem.ts'

/*
 * Two queues stand before the work: the requests that one turn of the event loop has found, and the writes that wait
 * for the disk. Where one is too long, what comes last is refused at once, for a client that must ask again anyway is
 * served better by a quick no. But only where the queue has not been short for a while: a burst is no overload and is
 * over soon (after K. Nichols, V. Jacobson: Controlling Queue Delay, ACM Queue 10/5).
 *
 * What is admitted in a turn is paid for in this one or the next, so each turn may admit as many as the last ones show
 * to be affordable, in time on the processor: to wait for the disk, or for a core, is no work, and refusing ends neither.
 * What refusals take is not counted, or with enough of them nothing else would be done.
 */

const graceMs = 2000
const turnMsMax = 40
const admittedMin = 8
// By how much a turn may admit more than the one before.
const growth = 1.5
// What Node does to read a request and to end its answer takes as long again as the refusal itself.
const aroundRefusal = 2
// So many are no limit.
const admittedMax = 100_000
const writesMax = 256
const quietMs = 60_000

export type OverloadNeeds = {
  metrics: Metrics
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** How many writes wait to be committed. */
  writesWaiting: () => number
}

type Queue = 'requests' | 'writes'

export type Overload = {
  /** Whether what has just come is too much. */
  refusesRequest: () => boolean
  /** How many ms it took to say so. */
  onRefused: (ms: number) => void
  /** Whether what has just come is too much. */
  refusesWrite: () => boolean
}

// Whether a queue has been long at every look for a while; `forMs`: how long it is known to have been at the first.
const createStanding = (now: () => number) => {
  let longSince: number | null = null
  return (isLong: boolean, forMs = 0): boolean => {
    longSince = isLong ? longSince ?? now() - forMs : null
    return longSince !== null && now() - longSince >= graceMs
  }
}

const createTold = ({ metrics, log, monotonicNow }: OverloadNeeds) => {
  const refusedAt: Record<Queue, number> = { requests: -Infinity, writes: -Infinity }
  return (queue: Queue): true => {
    const at = monotonicNow()
    metrics.requestsRefused.inc({ queue })
    if (at - refusedAt[queue] > quietMs) log.warn({ queue }, 'overloaded: what is too much is refused until there is less of it')
    refusedAt[queue] = at
    return true
  }
}

type Quota = { admits: () => boolean, onRefused: (ms: number) => void }

const createQuota = ({ monotonicNow, busyMs }: OverloadNeeds): Quota => {
  const isStanding = createStanding(monotonicNow)
  let quota = Infinity
  let admitted = 0
  let refusalsMs = 0
  let isInTurn = false
  let lastBusyMs = busyMs()

  const nextQuota = (costMs: number): number => {
    const affordable = admitted * turnMsMax / Math.max(1, costMs - refusalsMs)
    if (isStanding(costMs > turnMsMax / 2, costMs)) return Math.max(admittedMin, Math.min(affordable, quota * growth))
    // What was too much is let in again step by step.
    return quota > admittedMax ? Infinity : quota * growth
  }
  const endTurn = () => {
    const costMs = busyMs() - lastBusyMs
    lastBusyMs += costMs
    isInTurn = false
    quota = nextQuota(costMs)
    admitted = 0
    refusalsMs = 0
  }
  return {
    admits: () => {
      if (!isInTurn) {
        isInTurn = true
        setImmediate(endTurn)
      }
      if (admitted >= quota) return false
      admitted++
      return true
    },
    onRefused: ms => { refusalsMs += aroundRefusal * ms }
  }
}

export const createOverload = (needs: OverloadNeeds): Overload => {
  const { monotonicNow, writesWaiting } = needs
  const refuse = createTold(needs)
  const quota = createQuota(needs)
  const isStanding = createStanding(monotonicNow)
  return {
    refusesRequest: () => !quota.admits() && refuse('requests'),
    onRefused: quota.onRefused,
    refusesWrite: () => {
      const waiting = writesWaiting()
      return isStanding(waiting > writesMax / 2) && waiting > writesMax && refuse('writes')
    }
  }
}

const bodyBytesReadMax = 64 * 1024

const tooMuch = new ServiceFailure('OVERLOADED', 'There is more to do than the service can take on. Ask again a little later.', { retryAfterSeconds: 1 })

// Before the framework sees it, or a no would cost nearly as much as an answer.
const refuse = ({ url = '/', headers }: IncomingMessage, response: ServerResponse): void => {
  const path = pathOf(url)
  const { status, headers: described, body } = toFailureAnswer({ path, accept: headers.accept, route: path }, tooMuch)
  // A body that nobody takes has to be read to its end, or the connection closed.
  const isLong = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > bodyBytesReadMax
  response
    .writeHead(status, { ...described, 'content-length': Buffer.byteLength(body), ...(isLong ? { connection: 'close' } : {}) })
    .end(body)
}

const isOfApi = ({ url = '/' }: IncomingMessage): boolean => url.startsWith('/api/') || pathOf(url).startsWith('/api/')

/** A server that refuses what is too much for a turn. Operators are always answered. */
export const createGatedServers = ({ refusesRequest, onRefused }: Overload, now: () => number): FastifyServerFactory => (handle, options) => {
  const atEndOfTurn = createEndOfTurn()
  const listener: RequestListener = (request, response) => {
    if (!isOfApi(request) || !refusesRequest()) return handle(request, response)
    // Answered at once, its connection could bring the next request within this very turn, and so without end.
    atEndOfTurn(() => {
      const began = now()
      refuse(request, response)
      onRefused(now() - began)
    })
  }
  const { http, keepAliveTimeout, requestTimeout } = options as Parameters<FastifyServerFactory>[1] & {
    http: object, keepAliveTimeout: number, requestTimeout: number
  }
  return Object.assign(createServer(http, listener), { keepAliveTimeout, requestTimeout })
}

/** Refuses writes while too many wait. */
export const registerWriteLimit = (app: FastifyInstance, { refusesWrite }: Overload): void => {
  app.addHook('onRequest', ({ method }, _reply, done) => {
    done(method !== 'GET' && method !== 'HEAD' && refusesWrite() ? tooMuch : undefined)
  })
}
