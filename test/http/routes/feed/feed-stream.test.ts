import { get, type IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import { jsonOf } from '../../../helpers/client.ts'
import { openEvents, type ReceivedEvent } from '../../../helpers/events.ts'
import { startService } from '../../../helpers/service.ts'
import { bearer, type TokenClaims } from '../../../helpers/tokens.ts'
import { awaitWaiting } from '../../../helpers/waiting.ts'
import { until } from '../../../helpers/until.ts'
import { storeReads } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0', WAITERS_MAX: '6', CORS_ORIGINS: 'https://app.example' })
const { ask, sql } = service

const acme: TokenClaims = { tenant: 'acme' }
const accept = { accept: 'text/event-stream' }
const open = async (t: Test, query = '', headers: Record<string, string> = {}, claims = acme, path = '/api/v1/events') => {
  const events = await openEvents(service, path + query, { claims, headers: { ...accept, ...headers } })
  t.teardown(events.close)
  return events
}
const insert = (jobId: string, tenant = 'acme') =>
  `INSERT INTO JobExecutionLog (jobId, status, tenant, type) VALUES ('${jobId}', 'Running', '${tenant}', 'report')`
const update = (jobId: string, set: string) => `UPDATE JobExecutionLog SET ${set} WHERE jobId = '${jobId}'`
const now = async (): Promise<string> => (await jsonOf(ask('/api/v1/events', { claims: acme }))).cursor
const gist = (event: ReceivedEvent | undefined) => event === undefined ? 'end' : `${event.event} ${JSON.parse(event.data).jobId}`

t.test('each change is an event with the item of a page as its data', async t => {
  for (const path of ['/api/v1/events', '/api/events']) {
    const cursor = await now()
    const { answer, readBlock, next } = await open(t, '', {}, acme, path)
    t.equal(answer.status, 200)
    t.match(Object.fromEntries(answer.headers), { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
    t.equal(await readBlock(), 'retry: 2000')
    const jobId = `job-${path.length}`
    await sql(insert(jobId))
    const event = await next()
    const body = await jsonOf(ask(`${path}?since=${cursor}`, { claims: acme }))
    const [item] = body.items
    t.same(event, { event: 'status', id: item.cursor, data: JSON.stringify(item) })
    await sql(update(jobId, "tenant = 'other'"))
    t.match(await next(), { event: 'gone', data: new RegExp(`"jobId":"${jobId}","version":\\d+,"job":null`) })
  }
})

t.test('only an Accept that names the stream gets it', async t => {
  const typeOf = async (accept: string) => {
    const answer = await ask('/api/v1/events', { claims: acme, headers: { accept } })
    await answer.body?.cancel()
    return answer.headers.get('content-type')?.split(';')[0]
  }
  const json = ['*/*', 'text/*', 'application/json', 'application/json,text/*;q=0.99', 'text/event-stream;q=0.5, application/json']
  for (const accept of json) t.equal(await typeOf(accept), 'application/json', accept)
  for (const accept of ['text/event-stream', 'application/json, text/event-stream', 'Text/Event-Stream, */*;q=0.1']) {
    t.equal(await typeOf(accept), 'text/event-stream', accept)
  }
  await awaitWaiting(service, 0, 'feed')
})

t.test('a client resumes at any event, by its Last-Event-ID before its since', async t => {
  const cursor = await now()
  await sql([insert('r1'), insert('r2', 'other'), insert('r3')].join(';'))
  const first = await open(t, `?since=${cursor}`)
  const events = [await first.next(), await first.next()]
  t.same(events.map(gist), ['status r1', 'status r3'])
  const again = await open(t, `?since=${cursor}`, { 'last-event-id': events[0]?.id ?? '' })
  t.same(gist(await again.next()), 'status r3')
  const typed = await open(t, `?since=${cursor}&type=export`)
  await sql(`${update('r1', "type = 'export'")}; DELETE FROM JobExecutionLog WHERE jobId = 'r3'`)
  t.same([gist(await typed.next()), gist(await typed.next())], ['status r1', 'gone r3'])
})

t.test('what is wrong is answered before the stream begins', async t => {
  const failure = async (query: string, headers = {}) => jsonOf(ask(`/api/v1/events${query}`, { claims: acme, headers: { ...accept, ...headers } }))
  t.match(await failure('?since=x'), { code: 'VALIDATION_FAILED', errors: [{ field: 'since' }] })
  t.match(await failure('', { 'last-event-id': 'x' }), { code: 'VALIDATION_FAILED', errors: [{ field: 'last-event-id' }] })
  t.match(await failure('?since=0123456789abcdef-1'), { code: 'CURSOR_EXPIRED', status: 410 })
  t.equal((await ask('/api/v1/events', { headers: { ...accept, authorization: '' } })).status, 401)
  await awaitWaiting(service, 0, 'feed')
})

t.test('pages of other origins may read it', async t => {
  const { answer } = await open(t, '', { origin: 'https://app.example' })
  t.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example')
})

t.test('followers count as waiting clients: beyond the half of a tenant they are 503', async t => {
  await awaitWaiting(service, 0, 'feed')
  const open3 = await Promise.all([open(t), open(t), open(t)])
  await awaitWaiting(service, 3, 'feed')
  const answer = await ask('/api/v1/events', { claims: acme, headers: accept })
  t.equal(answer.status, 503)
  t.equal(answer.headers.get('retry-after'), '1')
  t.match(await jsonOf(answer), { code: 'OVERLOADED' })
  for (const { close } of open3) await close()
  await awaitWaiting(service, 0, 'feed')
})

t.test('at the end of its token a stream ends after its last whole event', async t => {
  const cursor = await now()
  await sql(insert('last'))
  const { next } = await open(t, `?since=${cursor}`, {}, { ...acme, expiresIn: 4000 })
  t.equal(gist(await next()), 'status last')
  t.equal(await next(), undefined)
  await awaitWaiting(service, 0, 'feed')
})

/** A client that takes nothing from its socket until it is told to. */
const openSlow = (query: string) => new Promise<IncomingMessage>((resolve, reject) => {
  get(`${service.url}/api/v1/events${query}`, { headers: { ...bearer(acme), ...accept } }, response => {
    response.pause()
    resolve(response)
  }).on('error', reject)
})

t.test('a client that takes nothing has a bounded backlog, and gets everything once it reads', async t => {
  const cursor = await now()
  const count = 30_000
  await sql(`INSERT INTO JobExecutionLog (jobId, status, tenant, resultUrl)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    SELECT 'slow-' || i, 'Succeeded', 'acme', 'https://example.org/' || printf('%.1000c', 'x') FROM n`)
  const readsBefore = await storeReads(service)
  const response = await openSlow(`?since=${cursor}`)
  // The service answers others in between, so a stream that goes on has gone on by the next of these.
  const countReads = async () => {
    for (let asked = 0; asked < 50; asked += 1) await ask('/livez')
    return await storeReads(service) - readsBefore
  }
  const reads = await until(async () => {
    const reads = await countReads()
    return reads > 0 && reads === await countReads() && reads
  }, 'the service to stop reading for it')
  t.ok(reads < count / 2, `${reads} of ${count} jobs were read`)
  let text = ''
  let found = 0
  for await (const chunk of response) {
    text += String(chunk)
    const end = text.lastIndexOf('\n\n') + 2
    found += text.slice(0, end).split('event: status').length - 1
    text = text.slice(end)
    if (found >= count) break
  }
  t.equal(found, count)
  await awaitWaiting(service, 0, 'feed')
})

t.test('a process that drains ends every stream', async t => {
  const draining = await startService(t, { WORKERS: '0', DRAIN_DELAY_SECONDS: '1' }, `${service.databasePath}.drain`)
  const { next } = await openEvents(draining, '/api/v1/events', { headers: accept })
  await awaitWaiting(draining, 1, 'feed')
  draining.app.onDraining()
  t.equal(await next(), undefined)
  t.equal((await draining.ask('/api/v1/events', { headers: accept })).status, 503)
})
