import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyServerFactory } from 'fastify'
import type { Logger } from 'pino'
import { ServiceFailure } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { pathOf, toFailureAnswer } from './problem.ts'

/*
 * Two queues stand before the work: the requests that one turn of the event loop has found, and the writes that wait
 * for the disk. Where one is too long, what comes last is refused at once, for a client that must ask again anyway is
 * served better by a quick no. But only where the queue has not been short for a while: a burst, or a machine that
 * pauses, is no overload and is over soon (after K. Nichols, V. Jacobson: Controlling Queue Delay, ACM Queue 10/5).
 *
 * What is admitted in a turn is paid for in this one or the next, so each turn may admit as many as the last turns show
 * to be affordable. Waiting for the disk is not in the cost: the requests of a turn share it, however few they are.
 */

const graceMs = 500
const turnMsMax = 80
const admittedMin = 8
// How fast the number that is admitted follows what the last turn showed.
const growthMax = 1.25
const shrinkageMax = 0.5
const writesMax = 256
const quietMs = 60_000

export type OverloadNeeds = {
  metrics: Metrics
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** For how many ms the event loop has been busy so far, waiting for the disk aside. */
  busyMs: () => number
  /** How many writes wait to be committed. */
  writesWaiting: () => number
}

type Queue = 'requests' | 'writes'

/** Both return whether what has just come is too much. */
export type Overload = { refusesRequest: () => boolean, refusesWrite: () => boolean }

// Whether a queue has been long at every look for a while.
const createStanding = (now: () => number) => {
  let longSince: number | null = null
  return (isLong: boolean): boolean => {
    longSince = isLong ? longSince ?? now() : null
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

const createQuota = ({ monotonicNow, busyMs }: OverloadNeeds): { admits: () => boolean } => {
  const isStanding = createStanding(monotonicNow)
  let quota = Infinity
  let admitted = 0
  let isInTurn = false
  let lastBusyMs = busyMs()
  const endTurn = () => {
    const costMs = busyMs() - lastBusyMs
    lastBusyMs += costMs
    isInTurn = false
    const change = Math.min(growthMax, Math.max(shrinkageMax, turnMsMax / costMs))
    quota = isStanding(costMs > turnMsMax / 2) ? Math.max(admittedMin, Math.min(quota, admitted) * change) : Infinity
  }
  return {
    admits: () => {
      if (!isInTurn) {
        isInTurn = true
        admitted = 0
        setImmediate(endTurn)
      }
      if (admitted >= quota) return false
      admitted++
      return true
    }
  }
}

export const createOverload = (needs: OverloadNeeds): Overload => {
  const { monotonicNow, writesWaiting } = needs
  const refuse = createTold(needs)
  const quota = createQuota(needs)
  const isStanding = createStanding(monotonicNow)
  return {
    refusesRequest: () => !quota.admits() && refuse('requests'),
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
export const createGatedServers = ({ refusesRequest }: Overload): FastifyServerFactory => (handle, options) => {
  const listener: RequestListener = (request, response) => {
    if (isOfApi(request) && refusesRequest()) refuse(request, response)
    else handle(request, response)
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
