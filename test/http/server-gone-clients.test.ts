import { request } from 'node:http'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { bearer } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

const service = await startService(t)

type Sent = { path: string, headers: Record<string, string>, body: string }

/** Sends a request and disconnects once `isBegun` is true. */
const disconnect = async ({ path, headers, body }: Sent, isBegun: () => Promise<boolean>) => {
  const claims = { scope: 'jobs:write jobs:work' }
  const client = request(service.url + path, { method: 'POST', headers: { ...bearer(claims), ...headers } })
  client.on('error', () => {})
  client.write(body)
  await until(isBegun, 'the request in progress')
  client.destroy()
}

/** True once the server has answered this many other requests, each of which takes it a turn of its event loop. */
const afterRequests = (count: number) => {
  let answered = 0
  return async () => {
    await (await fetch(`${service.url}/livez`)).arrayBuffer()
    return ++answered >= count
  }
}

const asJson = (value: unknown) => {
  const body = JSON.stringify(value)
  return { headers: { 'content-type': 'application/json', 'content-length': String(body.length) }, body }
}

t.test('a client that disconnects while its content is sanitized does not block the next one', async t => {
  const content = '<b title=x onclick=y></b>'.repeat(30_000)
  await disconnect({ path: '/api/sanitize', ...asJson({ content, contentType: 'text/html' }) }, afterRequests(5))
  const next = { content: 'a', contentType: 'text/plain' }
  t.equal((await service.ask('/api/sanitize', { method: 'POST', body: next })).status, 200)
})

t.test('a client that disconnects during its upload is logged', async () => {
  const path = '/api/sanitize/async'
  await disconnect({ path, headers: { 'content-type': 'text/plain' }, body: 'a'.repeat(600 * 1024) },
    async () => Number(await service.sql('SELECT count(*) FROM JobInputChunk')) >= 2)
  await until(
    () => service.logs.some(({ msg, route }) => msg === 'the client went away' && route === path), 'the log line'
  )
})

t.test('a client that disconnects during a waiting claim does not delay the shutdown, and no disconnect is an error', async t => {
  await disconnect(
    { path: '/api/v1/worker/claim', ...asJson({ types: ['no-such-type'], wait: 50 }) }, afterRequests(20)
  )
  // Stopping waits for all requests in progress.
  await service.stop()
  t.same(service.logs.filter(({ level }) => level >= 50), [])
})
