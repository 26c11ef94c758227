import { request } from 'node:http'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { bearer } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

const service = await startService(t)

/** Begins a request, and leaves when `isBegun` says so. */
const leave = async (method: string, path: string, headers: Record<string, string>, body: string, isBegun: () => Promise<boolean>) => {
  const client = request(service.url + path, { method, headers: { ...bearer({ scope: 'jobs:write jobs:work' }), ...headers } })
  client.on('error', () => {})
  client.write(body)
  await until(isBegun, 'the request to be under way')
  client.destroy()
}

t.test('a client that leaves is no failure of ours: while its content is sanitized, in the middle of its upload, or tired of waiting', async t => {
  const body = JSON.stringify({ content: '<b title=x onclick=y></b>'.repeat(30_000), contentType: 'text/html' })
  let looks = 0
  await leave('POST', '/api/sanitize', { 'content-type': 'application/json', 'content-length': String(body.length) }, body,
    async () => ++looks > 5)
  t.equal((await service.ask('/api/sanitize', { method: 'POST', body: { content: 'a', contentType: 'text/plain' } })).status, 200)

  await leave('POST', '/api/sanitize/async', { 'content-type': 'text/plain' }, 'a'.repeat(600 * 1024),
    async () => Number(await service.sql('SELECT count(*) FROM JobInputChunk')) >= 2)

  const claim = JSON.stringify({ types: ['nothing-of-the-kind'], wait: 50 })
  await leave('POST', '/api/v1/worker/claim', { 'content-type': 'application/json', 'content-length': String(claim.length) }, claim,
    async () => ++looks > 25)

  // A drain waits for all that is under way.
  await service.stop()
  t.ok(service.logs.some(({ msg, route }) => msg === 'the client went away' && route === '/api/sanitize/async'))
  t.same(service.logs.filter(({ level }) => level >= 50), [])
})
