import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import type { Test } from 'tap'
import type { Json } from '../../helpers/client.ts'

/** Resume URLs of executions: 409 unless the execution waits, as in n8n. */
export type ResumeServer = {
  resumeUrl: string
  /** The status codes that calls got. */
  answers: number[]
  /** Waits for a call, which resumes the execution with what it sent. */
  awaitCall: (signal: AbortSignal) => Promise<Json>
}

/** Starts the server, which the test closes. */
export const startResumeServer = async (t: Test): Promise<ResumeServer> => {
  const answers: number[] = []
  let resume: ((call: Json) => void) | undefined
  const server = http.createServer((request, response) => {
    void json(request).then(body => {
      const isWaiting = resume !== undefined && request.method === 'POST'
      const status = isWaiting ? 200 : 409
      answers.push(status)
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ message: isWaiting ? 'Workflow was started' : 'The execution is not waiting' }))
      if (isWaiting) resume?.({ headers: request.headers, body })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    resumeUrl: `http://127.0.0.1:${port}/webhook-waiting/17?signature=0123456789abcdef`,
    answers,
    awaitCall: signal => {
      const { promise, resolve } = Promise.withResolvers<Json>()
      const end = (call: Json) => {
        resume = undefined
        resolve(call)
      }
      resume = end
      signal.addEventListener('abort', () => { end(undefined) })
      return promise
    }
  }
}
