import type { RequestListener, Server } from 'node:http'
import { createServer } from '../../node-http.ts'
import { acceptRequest } from './malformed-requests.ts'

// Request line and headers together. Node's own 16 KiB are less than a token of many claims and a long URL.
const headerBytesMax = 32 * 1024
const headersTimeoutMs = 5000
const connectionsCheckMs = 1000
const keepAliveMs = 72_000

/**
 * Node's server, before the framework. Fastify takes it through its `serverFactory`, and then listens on one address
 * only: if a HOST has several, on the first.
 */
export const createNodeServer = (handle: RequestListener): Server => {
  const server = createServer({
    maxHeaderSize: headerBytesMax,
    headersTimeout: headersTimeoutMs,
    connectionsCheckingInterval: connectionsCheckMs,
    keepAliveTimeout: keepAliveMs,
    // Bodies have limits of their own: body-timeouts.ts.
    requestTimeout: 0,
    // Node would reject a request without Host, and still hand on the next one on its connection: acceptRequest does
    // not.
    requireHostHeader: false
  }, (request, response) => { if (acceptRequest(request, response)) handle(request, response) })
  // Without a listener Node sends the same, and the response would not be known to rejectMalformed.
  server.on('checkExpectation', (request, response) => {
    if (acceptRequest(request, response)) response.writeHead(417).end()
  })
  return server
}
