import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { reach } from '../reach.ts'
import { freePort } from '../servers.ts'

const token = 'aaaa.bbbb.cccc'

const listen = async (t: Test, answer: RequestListener): Promise<number> => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

const failureOf = async (url: string, path = '/api/v1/jobs/job-1'): Promise<string> =>
  await reach({ url, token }, path).then(({ status }) => `answered ${status}`, (error: Error) => error.message)

t.test('says why no response came', async t => {
  const port = await listen(t, (_request, response) => { response.end() })
  const broken = await listen(t, request => { request.socket.destroy() })
  t.match(await failureOf(`http://127.0.0.1:${await freePort()}`), /^cannot reach http:\/\/127.*: the connection is refused: /)
  t.match(await failureOf('http://no-such-host.invalid/base'), /^cannot reach http:\/\/no-such-host\.invalid: the name cannot be/)
  t.match(await failureOf(`https://127.0.0.1:${port}`), /^cannot reach https:\/\/127.*: TLS fails: .*\(ERR_SSL_\w+\)$/)
  t.match(await failureOf(`http://127.0.0.1:${broken}`), /: the connection (closed without a response|is reset).*\?/)
})

t.test('says what a response means, and never shows the token, not even where the service repeats it', async t => {
  const answers: Record<string, [status: number, headers: Record<string, string>]> = {
    '/ok': [200, {}],
    '/401': [401, { 'www-authenticate': 'Bearer error="invalid_token", error_description="The token has expired"' }],
    '/401-plain': [401, { 'www-authenticate': 'Bearer' }],
    '/403': [403, {}],
    '/404': [404, {}],
    '/301': [301, { location: `https://jobs.example.org/?token=${token}` }],
    '/502': [502, {}]
  }
  const port = await listen(t, ({ url = '' }, response) => {
    const [status, headers] = answers[url] ?? [500, {}]
    response.writeHead(status, headers).end(token)
  })
  const url = `http://127.0.0.1:${port}`
  t.equal(await failureOf(url, '/ok'), 'answered 200')
  for (const [path, reason] of [
    ['/401', /is 401: the token is not accepted: The token has expired$/],
    ['/401-plain', /is 401: the token is not accepted$/],
    ['/403', /is 403: the token lacks a scope/],
    ['/404', /is 404: there is no such job for this token, or no job status service at this URL$/],
    ['/301', /is 301: it redirects to https:\/\/jobs\.example\.org\/\?token=\[token\]$/],
    ['/502', /is 502: this is no response of a job status service$/]
  ] as const) {
    t.match(await failureOf(url, path), reason, path)
  }
})
