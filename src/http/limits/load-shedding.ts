import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { ServiceFailure } from '../../errors.ts'
import type { Metrics } from '../../metrics.ts'
import { createLogThrottle } from '../../log-throttle.ts'
import { pathOf, toFailureResponse } from '../problem.ts'
import { createSustained } from './standing.ts'
import { createAdmissionControl, type AdmissionControl, type AdmissionNeeds } from './admission.ts'
import { isAmbiguous } from './malformed-requests.ts'

/*
 * Two queues stand before the work: the requests that one turn of the event loop has found, and the writes that wait
 * for the disk. Where one has been too long for a while, what is too much is refused at once, for a client that must ask
 * again anyway is served better by a quick no.
 */

const graceMs = 2000
// From so many on that wait, some are refused, and beyond so many all: the more, the likelier, whoever comes when.
const writesMin = 128
const writesMax = 384

export type LoadSheddingNeeds = AdmissionNeeds & {
  metrics: Metrics
  log: Logger
  /** How many writes wait to be committed. */
  writesWaiting: () => number
}

type Queue = 'requests' | 'writes'

export type LoadShedding = AdmissionControl & {
  /** To be told of each request that was refused for that. */
  onRejected: () => void
  /** Requests that were not accepted, and that the framework is to refuse. */
  rejected: WeakSet<IncomingMessage>
  /** Whether a write that has just come is too much. */
  rejectsWrite: () => boolean
}

const createOverloadReport = ({ metrics, log, monotonicNow }: LoadSheddingNeeds) => {
  const shouldLog = createLogThrottle(monotonicNow)
  return (queue: Queue): void => {
    metrics.requestsRefused.inc({ queue })
    if (shouldLog(queue)) log.warn({ queue }, 'overloaded: what is too much is refused until there is less of it')
  }
}

export const createLoadShedding = (needs: LoadSheddingNeeds): LoadShedding => {
  const { monotonicNow, writesWaiting, random } = needs
  const tell = createOverloadReport(needs)
  const isSustained = createSustained(monotonicNow, graceMs)
  return {
    ...createAdmissionControl(needs),
    onRejected: () => { tell('requests') },
    rejected: new WeakSet(),
    rejectsWrite: () => {
      const waiting = writesWaiting()
      const refuses = isSustained(waiting > writesMin) && random() * (writesMax - writesMin) < waiting - writesMin
      if (refuses) tell('writes')
      return refuses
    }
  }
}

const tooMuch = new ServiceFailure('OVERLOADED', 'There is more to do than the service can take on. Ask again a little later.', { retryAfterSeconds: 1 })

// Before the framework sees it, or a no would cost nearly as much as an answer.
const refuse = ({ url = '/', headers: { accept } }: IncomingMessage, response: ServerResponse, isLast: boolean): void => {
  const path = pathOf(url)
  const { status, headers, body } = toFailureResponse({ path, accept, route: path }, tooMuch)
  response
    .writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body), ...(isLast ? { connection: 'close' } : {}) })
    .end(body)
}

const operatorPaths: readonly (string | undefined)[] = ['/livez', '/readyz', '/metrics']

// What else would be refused, or has a body that somebody has to take, is the framework's to refuse.
const isPlain = (request: IncomingMessage): boolean =>
  request.headers.authorization !== undefined && request.headers['transfer-encoding'] === undefined &&
  request.headers['content-length'] === undefined && !isAmbiguous(request)

/** Refuses requests that are too much for a turn, unless they are an operator's. To be called once, before the server listens. */
export const gateRequests = (server: Server, { tryAdmit, defer, onRejected, rejected }: LoadShedding, isDraining: () => boolean): void => {
  const [handle] = server.listeners('request') as RequestListener[]
  if (handle === undefined) throw new Error('there is nothing behind the gate')
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    if (operatorPaths.includes(request.url) || tryAdmit()) return handle(request, response)
    defer({
      admit: () => { handle(request, response) },
      reject: () => {
        if (isPlain(request)) {
          onRejected()
          return refuse(request, response, isDraining())
        }
        rejected.add(request)
        handle(request, response)
      }
    })
  })
}

/** Refuses what was not accepted, and writes while too many wait; to be registered behind what tells who asks. */
export const registerLoadShedding = (app: FastifyInstance, { rejectsWrite, onRejected, rejected }: LoadShedding): void => {
  app.addHook('onRequest', ({ raw, method, routeOptions: { config } }, _reply, done) => {
    if (rejected.has(raw)) {
      onRejected()
      return done(tooMuch)
    }
    const isWrite = method !== 'GET' && method !== 'HEAD' && config.writesNothing !== true
    done(isWrite && rejectsWrite() ? tooMuch : undefined)
  })
}
