import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http, { type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import { until } from './until.ts'

/** A request as it arrived at a receiver. */
export type Received = { method: string, url: string, headers: IncomingHttpHeaders, body: string }

/** Answers a request; `count` is how many have arrived, this one included. */
export type Answer = (response: ServerResponse, received: Received, count: number) => void

/** A certificate for localhost and 127.0.0.1, and its key. */
export const makeCertificate = (folder: string): { key: string, cert: string } => {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-days', '2',
    '-subj', '/CN=hook.example', '-addext', 'subjectAltName=DNS:hook.example,IP:127.0.0.1'
  ], { stdio: 'ignore' })
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
}

/** A real HTTP or (with a certificate) HTTPS server on 127.0.0.1, closed when the test ends. */
export const startReceiver = async (
  t: Test, answer: Answer = response => { response.end() }, certificate?: { key: string, cert: string }
) => {
  const received: Received[] = []
  const onRequest: http.RequestListener = (request, response) => {
    void text(request).then(body => {
      const { method = '', url = '', headers } = request
      const arrived = { method, url, headers, body }
      received.push(arrived)
      answer(response, arrived, received.length)
    }, () => {})
  }
  const server = certificate === undefined ? http.createServer(onRequest) : https.createServer(certificate, onRequest)
  let connections = 0
  server.on('connection', () => { connections++ })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  t.teardown(close)
  return {
    port,
    url: `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    received,
    connections: () => connections,
    close,
    /** Waits for this many requests. */
    arrived: async (count: number): Promise<Received[]> => {
      await until(() => received.length >= count, `${count} callbacks`)
      return received
    }
  }
}
