import { once } from 'node:events'
import { createServer, request as send, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** Answers in place of the service; false: this one is not for it. */
export type Fault = (
  request: IncomingMessage, answered: { status: number, body: Buffer }, response: ServerResponse
) => boolean

/** Stands before a service and hands everything on, but for the answers that a fault takes on itself. */
export const startFaultyProxy = async (t: Test, target: string, fault: Fault): Promise<string> => {
  const { port } = new URL(target)
  const server = createServer({ requireHostHeader: false }, (request, response) => {
    const onward = send({
      port, host: '127.0.0.1', agent: false, method: request.method, path: request.url, headers: request.headers
    }, answer => {
      const pieces: Buffer[] = []
      answer.on('data', (piece: Buffer) => { pieces.push(piece) })
      answer.on('end', () => {
        const body = Buffer.concat(pieces)
        const status = answer.statusCode ?? 0
        if (fault(request, { status, body }, response)) return
        const { connection: _, 'keep-alive': _k, 'transfer-encoding': _t, ...headers } = answer.headers
        response.writeHead(status, {
          ...headers,
          ...(status === 204 || status === 304 || request.method === 'HEAD'
            ? {}
            : { 'content-length': body.byteLength })
        }).end(body)
      })
    })
    onward.on('error', () => { request.socket.destroy() })
    request.pipe(onward)
  }).listen(0, '127.0.0.1')
  server.on('clientError', (_error, socket) => { socket.destroy() })
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
