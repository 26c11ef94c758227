import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { type FailureCode, catalogue } from '../../errors.ts'

/*
 * Requests that Node's parser refuses never become a request: they are answered on the bare socket. So are those that
 * the parser lets pass, and another reader on the way may have taken for something else.
 */

const reasons: Record<string, { status: string, code: FailureCode, detail: string }> = {
  HPE_HEADER_OVERFLOW: {
    status: '431 Request Header Fields Too Large', code: 'VALIDATION_FAILED', detail: 'The headers of the request are too large.'
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: '408 Request Timeout', code: 'VALIDATION_FAILED', detail: 'The request did not arrive in time.'
  }
}

const malformed = { status: '400 Bad Request', code: 'VALIDATION_FAILED', detail: 'The request is not well-formed HTTP.' } as const

// How long the client has to close its half of the connection.
const closingMs = 1000

// The answer that the connection is waiting for, of a request that was read whole, or that has begun to be answered.
const answerUnderWay = (socket: Socket): ServerResponse | undefined => {
  const { _httpMessage: response } = socket as Socket & { _httpMessage?: ServerResponse | null }
  return response?.headersSent === true || response?.req.complete === true ? response : undefined
}

/** Answers what could not be read as a request, in the shape of every other failure, and closes the connection. */
export const rejectMalformed = (error: Error & { code?: string }, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  // The client was told, or asked itself, to send nothing more; its last answer closes the connection.
  if (error.code === 'HPE_CLOSED_CONNECTION') return
  const response = answerUnderWay(socket)
  if (response !== undefined) {
    // What is written now would be taken for that answer, or for a part of it.
    response.once('close', () => { socket.destroySoon() })
    return
  }
  const { status, code, detail } = reasons[error.code ?? ''] ?? malformed
  const body = JSON.stringify({
    type: 'about:blank', title: catalogue[code].title, status: Number.parseInt(status), detail, instance: '', code
  })
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`
  )
  const timer = setTimeout(() => { socket.destroy() }, closingMs)
  socket.once('close', () => { clearTimeout(timer) })
}

const hostsIn = (rawHeaders: readonly string[]): number => {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ''
    if (name.length === 4 && name.toLowerCase() === 'host') count++
  }
  return count
}

/** RFC 9112: 2.3 (another major version), 3.2 (one host), 6.1 (chunks alone; what else the bytes went through is unknown). */
export const isAmbiguous = ({ headers, httpVersion, rawHeaders }: IncomingMessage): boolean => {
  const hosts = hostsIn(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) return true
  return !httpVersion.startsWith('1.') || !/^chunked$/i.test(headers['transfer-encoding'] ?? 'chunked')
}

/** Refuses requests that readers take differently, and does nothing that stands behind a refused one on its connection. */
export const rejectAmbiguous = (app: FastifyInstance): void => {
  app.addHook('onRequest', (request, reply, done) => {
    const { socket } = request.raw
    const isRefused = !socket.writable
    if (!isRefused && !isAmbiguous(request.raw)) return done()
    reply.hijack()
    if (!isRefused) rejectMalformed(new Error('the request is ambiguous'), socket)
  })
}
