import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { ServiceFailure } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { createEndOfTurn } from './end-of-turn.ts'
import { createNews } from './news.ts'
import { pathOf, toFailureAnswer } from './problem.ts'
import { isAmbiguous } from './unreadable.ts'

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
  /** Whether what has just come can be done soon enough. */
  admitsRequest: () => boolean
  /** To be told how many ms went to what was not admitted. */
  onSpent: (ms: number) => void
  /** To be told of each request that was refused for that. */
  onRefused: () => void
  /** Whether what has just come is too much. */
  refusesWrite: () => boolean
  /** Requests that were not admitted, and that the framework is to refuse. */
  excess: WeakSet<IncomingMessage>
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
  const isNews = createNews(monotonicNow)
  return (queue: Queue): void => {
    metrics.requestsRefused.inc({ queue })
    if (isNews(queue)) log.warn({ queue }, 'overloaded: what is too much is refused until there is less of it')
  }
}

type Quota = Pick<Overload, 'admitsRequest' | 'onSpent'>

const createQuota = ({ monotonicNow: now, busyMs }: OverloadNeeds): Quota => {
  const isStanding = createStanding(now)
  let quota = Infinity
  let admitted = 0
  let refusalsMs = 0
  let lastBusyMs = 0
  let state: 'resting' | 'between turns' | 'in a turn' = 'resting'
  let restingSince = now()

  const nextQuota = (costMs: number): number => {
    const affordable = admitted * turnMsMax / Math.max(1, costMs - refusalsMs)
    if (isStanding(costMs > turnMsMax / 2, costMs)) return Math.max(admittedMin, Math.min(affordable, quota * growth))
    // What was too much is let in again step by step.
    return quota > admittedMax ? Infinity : quota * growth
  }
  const endTurn = () => {
    const costMs = busyMs() - lastBusyMs
    lastBusyMs += costMs
    quota = nextQuota(costMs)
    admitted = 0
    refusalsMs = 0
    state = 'between turns'
    setImmediate(rest)
  }
  // A turn in which nobody asked: there is room, and what is done until somebody asks is not done for requests.
  const rest = () => {
    if (state === 'in a turn') return
    state = 'resting'
    restingSince = now()
    isStanding(false)
  }
  const beginTurn = () => {
    if (state === 'resting') {
      lastBusyMs = busyMs()
      if (now() - restingSince >= graceMs) quota = Infinity
    }
    state = 'in a turn'
    setImmediate(endTurn)
  }
  return {
    admitsRequest: () => {
      if (state !== 'in a turn') beginTurn()
      if (admitted >= quota) return false
      admitted++
      return true
    },
    onSpent: ms => { refusalsMs += aroundRefusal * ms }
  }
}

export const createOverload = (needs: OverloadNeeds): Overload => {
  const { monotonicNow, writesWaiting } = needs
  const tell = createTold(needs)
  const isStanding = createStanding(monotonicNow)
  return {
    ...createQuota(needs),
    excess: new WeakSet(),
    onRefused: () => { tell('requests') },
    refusesWrite: () => {
      const waiting = writesWaiting()
      const refuses = isStanding(waiting > writesMax / 2) && waiting > writesMax
      if (refuses) tell('writes')
      return refuses
    }
  }
}

const tooMuch = new ServiceFailure('OVERLOADED', 'There is more to do than the service can take on. Ask again a little later.', { retryAfterSeconds: 1 })

// Before the framework sees it, or a no would cost nearly as much as an answer.
const refuse = ({ url = '/', headers: { accept } }: IncomingMessage, response: ServerResponse, isLast: boolean): void => {
  const path = pathOf(url)
  const { status, headers, body } = toFailureAnswer({ path, accept, route: path }, tooMuch)
  response
    .writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body), ...(isLast ? { connection: 'close' } : {}) })
    .end(body)
}

const operatorPaths: readonly (string | undefined)[] = ['/livez', '/readyz', '/metrics']

// What else would be refused, or has a body that somebody has to take, is the framework's to refuse.
const isPlain = (request: IncomingMessage): boolean =>
  request.headers.authorization !== undefined && request.headers['transfer-encoding'] === undefined &&
  request.headers['content-length'] === undefined && !isAmbiguous(request)

export type GateNeeds = Pick<OverloadNeeds, 'monotonicNow'> & { isDraining: () => boolean }

/** Refuses requests that are too much for a turn, unless they are an operator's. To be called once, before the server listens. */
export const gateRequests = (server: Server, { admitsRequest, onSpent, onRefused, excess }: Overload, { monotonicNow: now, isDraining }: GateNeeds): void => {
  const [handle] = server.listeners('request') as RequestListener[]
  if (handle === undefined) throw new Error('there is nothing behind the gate')
  const atEndOfTurn = createEndOfTurn()
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    if (operatorPaths.includes(request.url) || admitsRequest()) return handle(request, response)
    const isSimple = isPlain(request)
    if (!isSimple) excess.add(request)
    // Answered at once, its connection could bring the next request within this very turn, and so without end.
    atEndOfTurn(() => {
      const began = now()
      if (isSimple) {
        refuse(request, response, isDraining())
        onRefused()
      } else {
        handle(request, response)
      }
      onSpent(now() - began)
    })
  })
}

/** Refuses what was not admitted, and writes while too many wait; to be registered behind what tells who asks. */
export const registerOverload = (app: FastifyInstance, { refusesWrite, onRefused, excess }: Overload): void => {
  app.addHook('onRequest', ({ raw, method, routeOptions: { config } }, _reply, done) => {
    if (excess.has(raw)) {
      onRefused()
      return done(tooMuch)
    }
    const isWrite = method !== 'GET' && method !== 'HEAD' && config.writesNothing !== true
    done(isWrite && refusesWrite() ? tooMuch : undefined)
  })
}
