import type { Socket } from 'node:net'
import { type FailureCode, catalogue } from '../errors.ts'

/*
 * Requests that Node's parser refuses never become a request: they are answered on the bare socket.
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

/** Answers what could not be read as a request, in the shape of every other failure, and closes the connection. */
export const answerUnreadable = (error: Error & { code?: string }, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
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
