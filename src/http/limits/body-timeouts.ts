import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import { toFailedRequest } from '../problem.ts'
import { routeOf } from '../route-of.ts'
import { rejectMalformed } from './malformed-requests.ts'

/*
 * How long a body may take. Node has one limit for all routes, and an upload of a gigabyte takes longer than a small
 * JSON body ever may: so there is a limit in all for a body that is read as a whole, and one between two chunks for a
 * streamed body. Both hold for rejected requests too, or a client without a token could keep its connection for ever.
 *
 * If a body gets its response before it has arrived and its connection is to close, as that of one that is too large,
 * the rest is read and discarded only as long as the client needs to see the response: closing at once would reset the
 * connection, and the response could be lost with it.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route reads its body as a stream, however long that takes: a Readable, see `takeRawBodies`. */
    isStreamed?: boolean
  }
}

export type BodyTimeouts = {
  /** For a body that is read as a whole. */
  wholeMs: number
  /** Between two chunks of a streamed one. */
  silenceMs: number
  /** For a client to stop sending once it has its response. */
  answeredMs: number
}

const defaults: BodyTimeouts = { wholeMs: 10_000, silenceMs: 30_000, answeredMs: 5000 }

const hasBody = ({ headers }: FastifyRequest): boolean =>
  headers['transfer-encoding'] !== undefined || !['0', undefined].includes(headers['content-length'])

const isStreamed = (request: FastifyRequest): boolean => routeOf(request).config.isStreamed === true

const mayHaveBody = ({ method }: RouteOptions): boolean =>
  [method].flat().some(name => !['GET', 'HEAD', 'OPTIONS'].includes(name))

const late = (): Error =>
  Object.assign(new Error('the body did not arrive in time'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })

const reject = (socket: Socket, request: FastifyRequest, reply: FastifyReply): void => {
  // The client would take a second response for that of its next request.
  if (!reply.raw.headersSent) rejectMalformed(late(), socket, toFailedRequest(request))
  socket.destroySoon()
}

const watch = (request: FastifyRequest, reply: FastifyReply, { wholeMs, silenceMs }: BodyTimeouts): void => {
  // Kept here: a request whose body was destroyed has no socket.
  const { raw, raw: { socket } } = request
  let { bytesRead } = socket
  const checkProgress = () => {
    // Bytes that have arrived and are not read yet: it is the route that is slow, not the client.
    if (socket.bytesRead === bytesRead && raw.readableLength === 0) reject(socket, request, reply)
    bytesRead = socket.bytesRead
  }
  const timer = isStreamed(request)
    ? setInterval(checkProgress, silenceMs)
    : setTimeout(() => { reject(socket, request, reply) }, wholeMs)
  const stop = () => {
    clearTimeout(timer)
    raw.off('end', stop)
    socket.off('close', stop)
  }
  raw.on('end', stop)
  // A request that has its response emits no event when its connection closes.
  socket.on('close', stop)
}

/** Reads and discards the rest of a body, for at most so long. */
export const discardBody = async (raw: IncomingMessage, msMax: number): Promise<void> => {
  const sent = new AbortController()
  for (const event of ['end', 'close']) raw.once(event, () => { sent.abort() })
  raw.resume()
  if (!raw.complete && !raw.destroyed) await delay(msMax, undefined, { signal: sent.signal }).catch(() => {})
}

// The client knows the length of the response, and has it before this stream ends.
const answerThenDiscard = async function * ({ raw }: FastifyRequest, answer: Buffer, answeredMs: number) {
  yield answer
  await discardBody(raw, answeredMs)
}

/** Ends requests whose body does not arrive in time, with 408 on the bare socket. */
export const registerBodyTimeouts = (app: FastifyInstance, limits: Partial<BodyTimeouts> = {}): void => {
  const all = { ...defaults, ...limits }
  app.addHook('onRequest', (request, reply, done) => {
    if (hasBody(request)) watch(request, reply, all)
    done()
  })
  const endGently: onSendHookHandler = (request, reply, payload, done) => {
    if (request.raw.complete || request.raw.destroyed) return done(null, payload)
    // Of a body that is read as a whole, Node discards what a route that rejects it has not read.
    if (isStreamed(request)) reply.header('connection', 'close')
    else if (reply.getHeader('connection') !== 'close') return done(null, payload)
    if (typeof payload !== 'string') return done(null, payload)
    const answer = Buffer.from(payload)
    reply.header('content-length', answer.byteLength)
    done(null, Readable.from(answerThenDiscard(request, answer, all.answeredMs), { objectMode: false }))
  }
  app.addHook('onRoute', route => {
    if (mayHaveBody(route)) route.onSend = [route.onSend ?? [], endGently].flat()
  })
}
