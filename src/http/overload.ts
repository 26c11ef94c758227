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
 * A turn is measured where requests are read. The time of commits is not in it, nor that of what answers at its end.
 */

const graceMs = 500
const turnMsMax = 50
const writesMax = 256
const quietMs = 60_000

export type OverloadNeeds = {
  metrics: Metrics
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
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

export const createOverload = (needs: OverloadNeeds): Overload => {
  const { monotonicNow: now, writesWaiting } = needs
  const refuse = createTold(needs)
  const isTurnStanding = createStanding(now)
  const isWriteStanding = createStanding(now)
  let turnBegan: number | null = null
  let isOverloaded = false
  const endTurn = () => {
    isOverloaded = isTurnStanding(now() - (turnBegan ?? 0) > turnMsMax / 2)
    turnBegan = null
  }
  return {
    refusesRequest: () => {
      if (turnBegan === null) {
        turnBegan = now()
        setImmediate(endTurn)
        return false
      }
      return isOverloaded && now() - turnBegan > turnMsMax && refuse('requests')
    },
    refusesWrite: () => {
      const waiting = writesWaiting()
      return isWriteStanding(waiting > writesMax / 2) && waiting > writesMax && refuse('writes')
    }
  }
}

const tooMuch = new ServiceFailure('OVERLOADED', 'There is more to do than the service can take on. Ask again a little later.', { retryAfterSeconds: 1 })

// Before the framework sees it, or a no would cost nearly as much as an answer.
const refuse = ({ url = '/', headers }: IncomingMessage, response: ServerResponse): void => {
  const path = pathOf(url)
  const { status, headers: described, body } = toFailureAnswer({ path, accept: headers.accept, route: path }, tooMuch)
  // A body that nobody takes would have to be read to its end.
  const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
  response
    .writeHead(status, { ...described, 'content-length': Buffer.byteLength(body), ...(hasBody ? { connection: 'close' } : {}) })
    .end(body)
}

const isOfApi = ({ url = '/' }: IncomingMessage): boolean => url.startsWith('/api/') || pathOf(url).startsWith('/api/')

/** A server that refuses what comes too late in a turn. Operators are always answered. */
export const createGatedServers = ({ refusesRequest }: Overload): FastifyServerFactory => (handle, options) => {
  const listener: RequestListener = (request, response) => {
    if (refusesRequest() && isOfApi(request)) refuse(request, response)
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
