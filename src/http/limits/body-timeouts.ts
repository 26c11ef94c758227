import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import { rejectMalformed } from './malformed-requests.ts'

/*
 * How long a body may take. Node's own limit is one for every route, and an upload of a gigabyte takes longer than a
 * small JSON body ever may: so bodies that are read as a whole have a limit in all, and streamed ones a limit between
 * two of their pieces. Both hold for refused requests too, or one without a token could keep its connection for ever.
 *
 * A streamed body that was answered before it was all there is read no further than it takes the client to see the
 * answer: closing at once would reset the connection, and the answer be lost with it.
 */

export type BodyTimeouts = {
  /** For a body that is read as a whole. */
  wholeMs: number
  /** Between two pieces of a streamed one. */
  silenceMs: number
  /** For a client to stop sending once it is answered. */
  answeredMs: number
}

const defaults: BodyTimeouts = { wholeMs: 10_000, silenceMs: 30_000, answeredMs: 5000 }

const hasBody = ({ headers }: FastifyRequest): boolean =>
  headers['transfer-encoding'] !== undefined || !['0', undefined].includes(headers['content-length'])

const isStreamed = (request: FastifyRequest): boolean => request.routeOptions.config.isStreamed === true

const late = (): Error => Object.assign(new Error('the body did not arrive in time'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })

const reject = (socket: Socket, reply: FastifyReply): void => {
  // Whoever is answered already would take a second answer for that of the next request.
  if (!reply.raw.headersSent) rejectMalformed(late(), socket)
  socket.destroySoon()
}

const watch = (request: FastifyRequest, reply: FastifyReply, { wholeMs, silenceMs }: BodyTimeouts): void => {
  // A request whose body was given up has no socket any more.
  const { raw, raw: { socket } } = request
  let { bytesRead } = socket
  const checkProgress = () => {
    // Bytes that are there and not taken are waiting for us, not we for the client.
    if (socket.bytesRead === bytesRead && raw.readableLength === 0) reject(socket, reply)
    bytesRead = socket.bytesRead
  }
  const timer = isStreamed(request) ? setInterval(checkProgress, silenceMs) : setTimeout(() => { reject(socket, reply) }, wholeMs)
  const stop = () => {
    clearTimeout(timer)
    raw.off('end', stop)
    socket.off('close', stop)
  }
  raw.on('end', stop)
  // A request that was answered is not told when its connection goes.
  socket.on('close', stop)
}

// With its length told, the client has the answer before its stream ends.
const answerThenDiscard = async function * ({ raw }: FastifyRequest, answer: Buffer, answeredMs: number) {
  yield answer
  const sent = new AbortController()
  for (const event of ['end', 'close']) raw.once(event, () => { sent.abort() })
  raw.resume()
  if (!raw.complete && !raw.destroyed) await delay(answeredMs, undefined, { signal: sent.signal }).catch(() => {})
}

/** Ends requests whose body does not arrive in time, with 408 on the bare connection. */
export const registerBodyTimeouts = (app: FastifyInstance, limits: Partial<BodyTimeouts> = {}): void => {
  const all = { ...defaults, ...limits }
  app.addHook('onRequest', (request, reply, done) => {
    if (hasBody(request)) watch(request, reply, all)
    done()
  })
  const endGently: onSendHookHandler = (request, reply, payload, done) => {
    if (request.raw.complete || request.raw.destroyed) return done(null, payload)
    reply.header('connection', 'close')
    if (typeof payload !== 'string') return done(null, payload)
    const answer = Buffer.from(payload)
    reply.header('content-length', answer.byteLength)
    done(null, Readable.from(answerThenDiscard(request, answer, all.answeredMs), { objectMode: false }))
  }
  app.addHook('onRoute', route => {
    if (route.config?.isStreamed === true) route.onSend = [route.onSend ?? [], endGently].flat()
  })
}
