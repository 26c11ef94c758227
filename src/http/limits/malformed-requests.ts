import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ServiceFailure } from '../../errors.ts'
import { STATUS_CODES } from '../../node-http.ts'
import { type FailedRequest, toFailureResponse } from '../problem.ts'

/*
 * Node's parser rejects some bytes before they become a request: their response is written to the bare socket. So is
 * the response to requests that the parser accepts, and that another reader on their way may have taken for something
 * else (request smuggling: RFC 9112, 11.2).
 */

const reasons: Record<string, ServiceFailure> = {
  HPE_HEADER_OVERFLOW: new ServiceFailure('HEADERS_TOO_LARGE', 'The request line and the headers exceed 32 KiB.'),
  ERR_HTTP_REQUEST_TIMEOUT: new ServiceFailure('REQUEST_TIMEOUT', 'The request did not arrive in time.')
}
const malformed = new ServiceFailure('VALIDATION_FAILED', 'The request is not well-formed HTTP.')

// Where the request line was not understood, or is not at hand any more.
const unknownRequest: FailedRequest = { path: '', accept: 'application/json', route: '' }

// How long the client has to close its half of the connection.
const closingMs = 1000

type Connection = {
  /** Those that are not finished, in the order of their requests. */
  responses: ServerResponse[]
  /** The connection is about to close: no request that arrives now is handled. */
  isRejected: boolean
}

const connections = new WeakMap<Socket, Connection>()

const connectionOf = (socket: Socket): Connection => {
  const known = connections.get(socket)
  if (known !== undefined) return known
  const connection: Connection = { responses: [], isRejected: false }
  connections.set(socket, connection)
  return connection
}

// The last response that the client still waits for, of a request that was read whole or whose response has begun.
const findUnfinished = ({ responses }: Connection): ServerResponse | undefined =>
  responses.findLast(({ headersSent, req }) => headersSent || req.complete)

/**
 * Sends a failure in the shape of every other for bytes that are no proper request, and closes the connection.
 * `request`: what is known of it.
 */
export const rejectMalformed = (
  error: Error & { code?: string }, socket: Socket, request: FailedRequest = unknownRequest
): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  // The last response, which the client asked or was asked to send nothing after, closes the connection.
  if (error.code === 'HPE_CLOSED_CONNECTION') return
  const connection = connectionOf(socket)
  connection.isRejected = true
  const unfinished = findUnfinished(connection)
  if (unfinished !== undefined) {
    // The client would take what is written now for that response, or for a part of it.
    unfinished.once('close', () => { socket.destroySoon() })
    return
  }
  const { status, headers, body } = toFailureResponse(request, reasons[error.code ?? ''] ?? malformed)
  const fields = { ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' }
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...Object.entries(fields).map(field => field.join(': '))]
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
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

// An authority without user info (RFC 3986, 3.2). Absolute URLs in responses begin with it.
const hostExpression = /^(?:\[[0-9a-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9a-f]{2})*)(?::\d*)?$/i

// RFC 9112: 2.3 (another major version), 3.2 (one host, and a valid one), 6.1 (chunked alone: other codings were added
// on the way).
const isAmbiguous = ({ headers, httpVersion, rawHeaders }: IncomingMessage): boolean => {
  const hosts = hostsIn(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0') || !hostExpression.test(headers.host ?? '')) return true
  return !httpVersion.startsWith('1.') || !/^chunked$/i.test(headers['transfer-encoding'] ?? 'chunked')
}

/**
 * Whether a request may be handled; its response is remembered then. Rejects one that readers take differently;
 * nothing behind a rejected one on its connection is handled.
 */
export const acceptRequest = (request: IncomingMessage, response: ServerResponse): boolean => {
  const { socket } = request
  const connection = connectionOf(socket)
  if (connection.isRejected || !socket.writable) return false
  if (isAmbiguous(request)) {
    rejectMalformed(new Error('the request is ambiguous'), socket)
    return false
  }
  const { responses } = connection
  responses.push(response)
  // Not left to the next request: ten thousand idle connections would each keep their last response alive.
  response.on('close', () => { if (responses[0] === response) responses.shift() })
  return true
}
