import t from 'tap'
import { exposedHeaders } from '../../../src/http/headers/cors.ts'
import type { Ask, Json } from '../../helpers/client.ts'
import { startService, type Service } from '../../helpers/service.ts'
import { forceRow, insertRows } from '../rows.ts'

/*
 * Requests of pages of other origins, and requests without a route: a preflight is both.
 */

const page = 'https://app.example.org'
const stranger = 'https://elsewhere.example'
const withoutToken = { authorization: '' }

const closed = await startService(t, { WORKERS: '0' })
const listed = await startService(t, {
  WORKERS: '0', CORS_ORIGINS: `http://localhost:8080, ${page}`, RATE_LIMIT_PER_MINUTE: '60'
}, `${closed.databasePath}.listed`)
const open = await startService(t, { WORKERS: '0', CORS_ORIGINS: '*' }, `${closed.databasePath}.open`)
for (const service of [closed, listed, open]) await insertRows(service, { jobId: 'job-1', status: 'Running' })

const askFrom = (service: Service, origin: string, path: string, { headers, ...options }: Ask = {}) =>
  service.ask(path, { ...options, headers: { origin, ...headers } })

const corsOf = ({ headers }: Response) =>
  Object.fromEntries([...headers].filter(([name]) => name.startsWith('access-control-')))
const varyOf = ({ headers }: Response) => (headers.get('vary') ?? '').split(', ').toSorted()

const preflight = { 'access-control-request-method': 'PUT', 'access-control-request-headers': 'lease-token' }

t.test('a preflight of a listed origin is 204 without a token, on every path', async t => {
  for (const path of ['/api/v1/jobs', '/api/jobs/job-1/status', '/livez', '/nothing']) {
    const answer = await askFrom(listed, page, path, { method: 'OPTIONS', headers: { ...withoutToken, ...preflight } })
    t.equal(answer.status, 204, path)
    const { 'access-control-expose-headers': _, ...cors } = corsOf(answer)
    t.strictSame(cors, {
      'access-control-allow-origin': page,
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, DELETE',
      'access-control-allow-headers': 'Authorization, Content-Type, If-None-Match, If-Match, Idempotency-Key, Prefer, ' +
        'Range, If-Range, Lease-Token, Last-Event-ID',
      'access-control-max-age': '600'
    }, path)
    t.same(varyOf(answer), ['Origin'])
  }
})

t.test('every response names the listed origin of its request, and no other, and keeps its Vary', async t => {
  await forceRow(listed, { jobId: 'damaged', status: 'Paused' })
  const { headers } = await listed.ask('/api/v1/jobs/job-1')
  const eTag = headers.get('etag') ?? ''
  const cases: Array<[path: string, status: number, vary: string[], options: Ask]> = [
    ['/api/v1/jobs/job-1', 200, ['Accept', 'Authorization', 'Origin'], {}],
    ['/api/v1/jobs/job-1', 304, ['Accept', 'Authorization', 'Origin'], { headers: { 'if-none-match': eTag } }],
    ['/api/v1/jobs/job-1/result', 202, ['Accept', 'Authorization', 'Origin'], {}],
    ['/api/v1/jobs/job-1?wait=0.01', 200, ['Accept', 'Authorization', 'Origin'], {}],
    ['/api/jobs/job-1/status?fresh=true', 200, ['Accept', 'Authorization', 'Origin'], {}],
    ['/api/v1/jobs/job-1/result?wait=0.01', 202, ['Accept', 'Authorization', 'Origin'], {}],
    ['/api/v1/jobs?ids=job-1&wait=0.01', 200, ['Accept', 'Authorization', 'Origin'], {}],
    ['/api/v1/jobs?ids=job-1&wait=0.01', 304, ['Accept', 'Authorization', 'Origin'], { headers: { 'if-none-match': '*' } }],
    ['/api/v1/jobs?wait=0.01', 202, ['Origin'], { method: 'POST', body: { type: 'a', input: 1 } }],
    ['/api/v1/jobs/job-1', 401, ['Origin'], { headers: withoutToken }],
    ['/api/v1/jobs/job-1', 403, ['Origin'], { claims: { scope: 'jobs:write' } }],
    ['/api/v1/jobs/absent', 404, ['Origin'], {}],
    ['/nothing', 404, ['Origin'], {}],
    ['/api/v1/jobs/job-1', 405, ['Origin'], { method: 'PUT' }],
    ['/api/v1/jobs', 415, ['Origin'], { method: 'POST', body: 'a', headers: { 'content-type': 'text/plain' } }],
    ['/api/v1/jobs/damaged', 500, ['Origin'], {}],
    ['/readyz', 200, ['Origin'], {}]
  ]
  for (const [path, status, vary, options] of cases) {
    const what = `${path} ${status}`
    const answer = await askFrom(listed, page, path, options)
    t.equal(answer.status, status, what)
    t.strictSame(corsOf(answer), {
      'access-control-allow-origin': page, 'access-control-expose-headers': exposedHeaders.join(', ')
    }, what)
    t.same(varyOf(answer), vary, what)
    const foreign = await askFrom(listed, stranger, path, options)
    t.notOk('access-control-allow-origin' in corsOf(foreign), `${what}: nothing for another origin`)
    t.same(varyOf(foreign), vary, `${what}: a cache keeps them apart`)
  }
  let limited: Response
  do limited = await askFrom(listed, page, '/api/v1/jobs/job-1')
  while (limited.status === 200)
  t.equal(limited.status, 429)
  t.equal(limited.headers.get('access-control-allow-origin'), page)
})

t.test('with * every origin may read, and responses do not vary by it', async t => {
  for (const path of ['/api/v1/jobs/job-1', '/api/v1/jobs/absent']) {
    const answer = await askFrom(open, stranger, path)
    t.strictSame(corsOf(answer), {
      'access-control-allow-origin': '*', 'access-control-expose-headers': exposedHeaders.join(', ')
    })
    t.notOk(varyOf(answer).includes('Origin'))
  }
})

t.test('without CORS_ORIGINS no response has a header for it', async t => {
  for (const [path, options] of [
    ['/api/v1/jobs/job-1', {}], ['/api/v1/jobs', { method: 'OPTIONS', headers: preflight }]
  ] as const) {
    const answer = await askFrom(closed, page, path, options)
    t.strictSame(corsOf(answer), {})
    t.notOk(varyOf(answer).includes('Origin'))
  }
})

t.test('pages may read every response header that the document has', async t => {
  const { paths } = await closed.askJson('/openapi.json')
  const documented = new Set(Object.values(paths).flatMap(path => Object.values(path as Json))
    .flatMap(({ responses }: Json) => Object.values(responses)).flatMap(({ headers = {} }: Json) => Object.keys(headers)))
  t.ok(documented.size > 10, 'the document was read')
  const readable = ['Cache-Control', 'Content-Language', 'Content-Type', 'Expires', 'Last-Modified', ...exposedHeaders]
    .map(name => name.toLowerCase())
  t.same([...documented].filter(name => !readable.includes(name.toLowerCase())), [])
})

t.test('a wrong method is 405 with the methods of the path, whatever the body, and 401 without a token', async t => {
  const cases: Array<[service: Service, path: string, method: string, allow: string]> = [
    [closed, '/api/v1/jobs', 'DELETE', 'GET, HEAD, POST'],
    [closed, '/api/v1/jobs', 'OPTIONS', 'GET, HEAD, POST'],
    [closed, '/api/v1/jobs/a%2Fb', 'PATCH', 'DELETE, GET, HEAD'],
    [closed, '/api/v1/jobs/x/cancel?a=1', 'GET', 'POST'],
    [closed, '/api/jobs/x/status', 'POST', 'GET, HEAD'],
    [closed, '/api/jobs/x/status', 'PROPFIND', 'GET, HEAD'],
    [closed, '/api/sanitize', 'PUT', 'POST'],
    [closed, '/api/v1/worker/jobs/x/result', 'POST', 'PUT'],
    [open, '/api/v1/jobs', 'PUT', 'GET, HEAD, OPTIONS, POST']
  ]
  for (const [service, path, method, allow] of cases) {
    const what = `${method} ${path}`
    const body = ['GET', 'OPTIONS'].includes(method) ? {} : { body: '{' }
    const answer = await service.ask(path, { method, ...body })
    t.equal(answer.status, 405, what)
    t.equal(answer.headers.get('allow'), allow, what)
    t.match(JSON.stringify(await answer.json()), '"code":"METHOD_NOT_ALLOWED"', what)
    const anonymous = await service.ask(path, { method, ...body, headers: withoutToken })
    t.equal(anonymous.status, 401, `${what} without a token`)
    t.notOk(anonymous.headers.has('allow'))
  }
  const head = await closed.ask('/api/v1/worker/claim', { method: 'HEAD' })
  t.same([head.status, head.headers.get('allow')], [405, 'POST'])
})

t.test('paths without a token need none for a 405 either, and an unknown path is 404 with any method', async t => {
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/', '/ui']) {
    const answer = await closed.ask(path, { method: 'POST', headers: withoutToken })
    t.same([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD'], path)
  }
  for (const [service, path] of [[closed, '/nothing'], [closed, '/api/v1/nothing'], [open, '/api/v1/nothing']] as const) {
    for (const method of ['GET', 'POST', 'OPTIONS', 'PROPFIND']) {
      const answer = await service.ask(path, { method })
      t.same([answer.status, answer.headers.has('allow')], [404, false], `${method} ${path}`)
    }
  }
})

t.test('OPTIONS that is no preflight needs the token of its path and names the methods', async t => {
  const answer = await open.ask('/api/v1/jobs/x', { method: 'OPTIONS' })
  t.same([answer.status, answer.headers.get('allow')], [204, 'DELETE, GET, HEAD, OPTIONS'])
  t.equal((await open.ask('/api/v1/jobs/x', { method: 'OPTIONS', headers: withoutToken })).status, 401)
})
