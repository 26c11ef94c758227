import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { KeyObject } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export const toJwk = (key: KeyObject, kid: string, more: object = {}) => ({
  ...key.export({ format: 'jwk' }), kid, use: 'sig', ...more
})

type Answer = (response: ServerResponse) => void

/** A server of key sets over HTTP, which a test can have answer anything. */
export const serveKeys = async (t: Test, ...keys: object[]) => {
  let fetches = 0
  const answerKeys: Answer = response => {
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys }))
  }
  let answer = answerKeys
  const server = createServer((_request, response) => {
    fetches++
    answer(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    keys,
    fetches: () => fetches,
    answerWith: (other: Answer) => { answer = other },
    answerKeys: () => { answer = answerKeys }
  }
}
