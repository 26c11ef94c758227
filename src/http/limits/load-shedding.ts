import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { ServiceFailure } from '../../errors.ts'
import type { AddCorsFields } from '../headers/cors.ts'
import { pathOf, toFailureResponse } from '../problem.ts'
import { routeOf } from '../route-of.ts'
import { type AdmissionControl, createSustained } from './admission.ts'
import { discardBody } from './body-timeouts.ts'

/*
 * Two queues stand before the work: the requests that one iteration of the event loop finds, and the writes that wait
 * for the disk. While one of them has been too long for a while, part of it is rejected with 503 and Retry-After.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route writes nothing, though its method suggests it. */
    writesNothing?: boolean
  }
}

export type OverloadedQueue = 'requests' | 'writes'

const overloaded = new ServiceFailure('OVERLOADED', 'The service is overloaded. Retry later.', { retryAfterSeconds: 1 })

type OverloadedNeeds = { isLast: boolean, discardMs: number, addCorsFields: AddCorsFields | null }

const sendOverloaded = (
  request: IncomingMessage, response: ServerResponse, { isLast, discardMs, addCorsFields }: OverloadedNeeds
): void => {
  const { url = '/', headers: { accept }, complete: isWhole } = request
  const path = pathOf(url)
  const { status, headers, body } = toFailureResponse({ path, accept, route: path }, overloaded)
  const connection = isLast || !isWhole ? { connection: 'close' } : {}
  const all = { ...headers, ...connection, 'content-length': String(Buffer.byteLength(body)) }
  const fields = Object.entries(all).flat()
  response.writeHead(status, addCorsFields?.(request, fields) ?? fields)
  if (isWhole) {
    // Node discards a body that has arrived.
    response.end(body)
    return
  }
  // To HEAD Node would send nothing before the end.
  response.flushHeaders()
  response.write(body)
  void discardBody(request, discardMs).then(() => { response.end() })
}

const operatorPaths: readonly (string | undefined)[] = ['/livez', '/readyz', '/metrics']

// Its response is 401 in any case: overload is no reason to reveal less of what is wrong.
const isAnonymous = ({ headers: { authorization }, url = '' }: IncomingMessage): boolean =>
  authorization === undefined && pathOf(url).startsWith('/api/')

export type GateNeeds = {
  admission: AdmissionControl
  onRejected: (queue: OverloadedQueue) => void
  isDraining: () => boolean
  /** null: no page of another origin may read responses. */
  addCorsFields?: AddCorsFields | null
  /** How long a rejected client may go on sending its body. */
  discardMs?: number
}

/**
 * Handles a request or rejects it, before the framework sees it: there, a rejection would cost nearly as much as a
 * response. Operators' requests are always handled.
 */
export const gateRequests = (
  handle: RequestListener, { admission, onRejected, isDraining, addCorsFields = null, discardMs = 5000 }: GateNeeds
): RequestListener => {
  const { tryAdmit, defer } = admission
  return (request, response) => {
    if (operatorPaths.includes(request.url) || tryAdmit()) return handle(request, response)
    const admit = () => {
      // The client may have gone meanwhile, or its connection is about to close.
      if (request.socket.writable) handle(request, response)
    }
    const reject = () => {
      onRejected('requests')
      sendOverloaded(request, response, { isLast: isDraining(), discardMs, addCorsFields })
    }
    defer({ admit, reject: isAnonymous(request) ? admit : reject })
  }
}

// Between writesMin and writesMax queued writes the probability of a rejection grows linearly; above, all are
// rejected.
const writesMin = 128
const writesMax = 384

export type WriteSheddingNeeds = {
  /** How many writes wait to be committed. */
  writesWaiting: () => number
  onRejected: (queue: OverloadedQueue) => void
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** In [0, 1). */
  random: () => number
}

/** Returns whether a write that has just arrived must be rejected. */
export const createWriteShedding = (
  { writesWaiting, onRejected, monotonicNow, random }: WriteSheddingNeeds
): (() => boolean) => {
  const isSustained = createSustained(monotonicNow)
  return () => {
    const waiting = writesWaiting()
    const rejects = isSustained(waiting > writesMin) && random() * (writesMax - writesMin) < waiting - writesMin
    if (rejects) onRejected('writes')
    return rejects
  }
}

/** Rejects writes while too many wait. To be registered after authentication, which knows the route. */
export const registerWriteShedding = (app: FastifyInstance, rejectsWrite: () => boolean): void => {
  app.addHook('onRequest', (request, _reply, done) => {
    const { method } = request
    const isWrite = method !== 'GET' && method !== 'HEAD' && routeOf(request).config.writesNothing !== true
    done(isWrite && rejectsWrite() ? overloaded : undefined)
  })
}
