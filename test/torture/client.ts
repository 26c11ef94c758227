import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { bearer } from '../helpers/tokens.ts'
import type { ServiceProcess } from './service-process.ts'

/** What stands in place of a status where there was no answer: the connection ended, or nothing came for too long. */
export const noAnswer = { cut: 0, late: -1 } as const

/** An answer, and when; without one nobody knows what came of the request. */
export type Answer = { status: number, headers: IncomingHttpHeaders, text: string, startedAt: number, endedAt: number }

export type Ask = { method?: string, body?: unknown, headers?: Record<string, string> }

export type Client = (node: ServiceProcess, path: string, ask?: Ask) => Promise<Answer>

// Longer than a service may take that waits for others that are stopped.
const patienceMs = 12_000

/** Sends requests to the processes of a run, over connections that are kept. */
export const createClient = (): { ask: Client, close: () => void } => {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity })
  const { authorization } = bearer({ expiresIn: 24 * 3600 * 1000, tenant: 'torture', scope: 'jobs:read jobs:write jobs:work' })
  const ask: Client = (node, path, { method = 'GET', body, headers = {} } = {}) => new Promise(resolve => {
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const startedAt = performance.now()
    const end = (status: number, received: IncomingHttpHeaders, text: string) => {
      resolve({ status, headers: received, text, startedAt, endedAt: performance.now() })
    }
    const sent = request({
      agent,
      host: '127.0.0.1',
      port: node.port,
      path,
      method,
      headers: {
        authorization,
        ...headers,
        ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) })
      }
    }, answer => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => { chunks.push(chunk) })
      answer.on('end', () => { end(answer.statusCode ?? 0, answer.headers, Buffer.concat(chunks).toString()) })
      answer.on('error', () => { end(noAnswer.cut, {}, '') })
    })
    sent.setTimeout(patienceMs, () => {
      end(noAnswer.late, {}, '')
      sent.destroy()
    })
    sent.on('error', () => { end(noAnswer.cut, {}, '') })
    sent.end(payload)
  })
  return { ask, close: () => { agent.destroy() } }
}
