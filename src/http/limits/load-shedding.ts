import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { ServiceFailure } from '../../errors.ts'
import { createLogThrottle } from '../../log-throttle.ts'
import type { Metrics } from '../../metrics.ts'
import { pathOf, toFailureResponse } from '../problem.ts'
import { type AdmissionControl, type AdmissionNeeds, createAdmissionControl, createSustained, graceMs } from './admission.ts'
import { discardBody } from './body-timeouts.ts'

/*
 * Two queues stand before the work: the requests that one iteration of the event loop finds, and the writes that wait for
 * the disk. While one of them has been too long for a while, part of it is rejected with 503 and Retry-After. Why and how
 * many requests: admission.ts.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route writes nothing, though its method suggests it. */
    writesNothing?: boolean
  }
}

// Between writesMin and writesMax queued writes the probability of a rejection grows linearly; above, all are rejected.
const writesMin = 128
const writesMax = 384

export type LoadSheddingNeeds = AdmissionNeeds & {
  metrics: Metrics
  log: Logger
  /** How many writes wait to be committed. */
  writesWaiting: () => number
}

export type LoadShedding = AdmissionControl & {
  /** Whether a write that has just arrived must be rejected. If so, it is counted. */
  rejectsWrite: () => boolean
  /** Counts a request that was rejected. */
  recordRejection: () => void
}

export const createLoadShedding = (needs: LoadSheddingNeeds): LoadShedding => {
  const { metrics, log, monotonicNow, writesWaiting, random } = needs
  const isSustained = createSustained(monotonicNow, graceMs)
  const shouldLog = createLogThrottle(monotonicNow)
  const record = (queue: 'requests' | 'writes') => {
    metrics.requestsRefused.inc({ queue })
    if (shouldLog(queue)) log.warn({ queue }, 'overloaded: rejecting part of the load')
  }
  return {
    ...createAdmissionControl(needs),
    recordRejection: () => { record('requests') },
    rejectsWrite: () => {
      const waiting = writesWaiting()
      const rejects = isSustained(waiting > writesMin) && random() * (writesMax - writesMin) < waiting - writesMin
      if (rejects) record('writes')
      return rejects
    }
  }
}

const overloaded = new ServiceFailure('OVERLOADED', 'The service is overloaded. Retry later.', { retryAfterSeconds: 1 })

const sendOverloaded = (request: IncomingMessage, response: ServerResponse, isLast: boolean, discardMs: number): void => {
  const { url = '/', headers: { accept }, complete: isWhole } = request
  const path = pathOf(url)
  const { status, headers, body } = toFailureResponse({ path, accept, route: path }, overloaded)
  const connection = isLast || !isWhole ? { connection: 'close' } : {}
  response.writeHead(status, { ...headers, ...connection, 'content-length': Buffer.byteLength(body) })
  if (isWhole) {
    // Node discards a body that has arrived.
    response.end(body)
    return
  }
  response.write(body)
  void discardBody(request, discardMs).then(() => { response.end() })
}

const operatorPaths: readonly (string | undefined)[] = ['/livez', '/readyz', '/metrics']

// The response to it is 401 in any case, and costs no more than a rejection.
const isAnonymous = ({ headers: { authorization }, url = '' }: IncomingMessage): boolean =>
  authorization === undefined && url.startsWith('/api/')

/** What a gate needs beside load shedding; `discardMs`: how long a rejected client may go on sending its body. */
export type GateNeeds = { loadShedding: LoadShedding, isDraining: () => boolean, discardMs?: number }

/**
 * Handles a request or rejects it, before the framework sees it: there, a rejection would cost nearly as much as a
 * response. Operators' requests are always handled.
 */
export const gateRequests = (handle: RequestListener, { loadShedding, isDraining, discardMs = 5000 }: GateNeeds): RequestListener => {
  const { tryAdmit, defer, recordRejection } = loadShedding
  return (request, response) => {
    if (operatorPaths.includes(request.url) || tryAdmit()) return handle(request, response)
    const admit = () => {
      // The client may have gone, or sent bytes after it that closed the connection.
      if (request.socket.writable) handle(request, response)
    }
    const reject = () => {
      recordRejection()
      sendOverloaded(request, response, isDraining(), discardMs)
    }
    defer({ admit, reject: isAnonymous(request) ? admit : reject })
  }
}

/** Rejects writes while too many wait. To be registered behind authentication: only there is it known which route it is for. */
export const registerWriteShedding = (app: FastifyInstance, { rejectsWrite }: LoadShedding): void => {
  app.addHook('onRequest', ({ method, routeOptions: { config } }, _reply, done) => {
    const isWrite = method !== 'GET' && method !== 'HEAD' && config.writesNothing !== true
    done(isWrite && rejectsWrite() ? overloaded : undefined)
  })
}
