import { once } from 'node:events'
import { Agent, createServer, request as sendRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Closing } from './postgres.ts'

/** A load balancer before several processes of the service. */
export type Balancer = {
  url: string
  /** How many processes take requests now. */
  ready: () => number
}

const checkMs = 50
const checkLimitMs = 1000

type State = 'ready' | 'slow' | 'away'

/**
 * Starts a balancer as operators run it: each request goes to the next process of which `/readyz` is 200, on connections
 * that are kept. Those that are slow to say so are used if there are no others, as on a machine without a core to spare.
 * It tries nothing a second time, so a request that a process does not answer fails.
 */
export const startBalancer = async (t: Closing, ports: readonly number[]): Promise<Balancer> => {
  const agent = new Agent({ keepAlive: true })
  const states = new Map<number, State>()
  let turn = 0
  let isOver = false

  const check = async (port: number): Promise<State> => {
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(checkLimitMs) })
      await answer.arrayBuffer()
      return answer.status === 200 ? 'ready' : 'away'
    } catch (error) {
      return (error as Error).name === 'TimeoutError' ? 'slow' : 'away'
    }
  }
  const checking = Promise.all(ports.map(async port => {
    while (!isOver) {
      states.set(port, await check(port))
      await delay(checkMs)
    }
  }))
  const portsThatAre = (state: State) => ports.filter(port => states.get(port) === state)

  const server = createServer((request, response) => {
    const ready = portsThatAre('ready')
    const taken = ready.length > 0 ? ready : portsThatAre('slow')
    const port = taken[turn++ % taken.length]
    if (port === undefined) {
      response.writeHead(502).end('balancer: no process is ready')
      return
    }
    const { method, url: path, headers } = request
    const upstream = sendRequest({ agent, host: '127.0.0.1', port, method, path, headers }, answer => {
      const { connection: _, ...fields } = answer.headers
      response.writeHead(answer.statusCode ?? 502, fields)
      answer.pipe(response)
    })
    upstream.on('error', ({ message }) => {
      if (response.headersSent) response.destroy()
      else response.writeHead(502).end(`balancer: process ${ports.indexOf(port)}: ${message}`)
    })
    request.pipe(upstream)
  }).listen(0, '127.0.0.1')
  // A connection that is closed because it is idle would break the request that a client is just sending on it.
  server.keepAliveTimeout = 0
  await once(server, 'listening')
  t.teardown(async () => {
    isOver = true
    await checking
    server.close()
    server.closeAllConnections()
    agent.destroy()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ready: () => portsThatAre('ready').length }
}
