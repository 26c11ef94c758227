import t from 'tap'
import type { Json } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { secret, token } from '../../helpers/tokens.ts'
import { goodClaims, handmade, hs256 } from './handmade-token.ts'
import { insertRows, whole } from '../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { url, ask } = service
await insertRows(service, { jobId: 'job-123', status: 'Running' })

const get = (path: string, authorization?: string, init: RequestInit = {}) =>
  fetch(url + path, {
    ...init, headers: { ...(authorization === undefined ? {} : { authorization }), ...init.headers }
  })

const signed = (claims: unknown, header: object = { alg: 'HS256', typ: 'JWT' }, key = secret) => handmade(
  header, claims, hs256(key)
)
const now = () => Math.floor(Date.now() / 1000)
const without = (claim: string) => {
  const { [claim]: _, ...claims } = goodClaims()
  return claims
}

const invalid: Record<string, string | undefined> = {
  'no header': undefined,
  'an empty header': '',
  'another scheme': `Basic ${Buffer.from('a:b').toString('base64')}`,
  'the scheme alone': 'Bearer',
  'the scheme and a space': 'Bearer ',
  'a token without the scheme': token(),
  garbage: 'Bearer garbage',
  'three garbage parts': 'Bearer a.b.c',
  'two tokens': `Bearer ${token()} ${token()}`,
  'a token of 10,000 characters': `Bearer ${'a'.repeat(10_000)}`,
  'the wrong key': `Bearer ${signed(goodClaims(), undefined, 'another-secret-that-is-not-configured-99')}`,
  'a changed payload': `Bearer ${signed(goodClaims()).replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify(goodClaims({ tenant: 'x' }))).toString('base64url')}.`)}`,
  'no signature': `Bearer ${signed(goodClaims()).replace(/[^.]+$/, '')}`,
  'an expired token': `Bearer ${signed(goodClaims({ exp: now() - 1 }))}`,
  'no exp': `Bearer ${signed(without('exp'))}`,
  'exp null': `Bearer ${signed(goodClaims({ exp: null }))}`,
  'exp as text': `Bearer ${signed(goodClaims({ exp: 'never' }))}`,
  'a token of the future': `Bearer ${signed(goodClaims({ nbf: now() + 300 }))}`,
  'alg none': `Bearer ${handmade({ alg: 'none' }, goodClaims(), () => '')}`,
  'alg None': `Bearer ${handmade({ alg: 'None', typ: 'JWT' }, goodClaims(), () => '')}`,
  'no alg': `Bearer ${signed(goodClaims(), { typ: 'JWT' })}`,
  'another alg of the same family': `Bearer ${signed(goodClaims(), { alg: 'HS512' })}`,
  'no sub': `Bearer ${signed(without('sub'))}`,
  'an empty sub': `Bearer ${signed(goodClaims({ sub: '' }))}`,
  'sub as a number': `Bearer ${signed(goodClaims({ sub: 7 }))}`,
  'sub null': `Bearer ${signed(goodClaims({ sub: null }))}`,
  'a sub of 257 characters': `Bearer ${signed(goodClaims({ sub: 'a'.repeat(257) }))}`,
  'tenant as a list': `Bearer ${signed(goodClaims({ tenant: ['tester'] }))}`,
  'tenant null': `Bearer ${signed(goodClaims({ tenant: null }))}`,
  'an empty tenant': `Bearer ${signed(goodClaims({ tenant: '' }))}`,
  'scope as a list': `Bearer ${signed(goodClaims({ scope: ['jobs:read'] }))}`,
  'scope null': `Bearer ${signed(goodClaims({ scope: null }))}`,
  'a payload that is a text': `Bearer ${signed('tester')}`,
  'a payload that is null': `Bearer ${signed(null)}`,
  'a payload that is a list': `Bearer ${signed([goodClaims()])}`
}

t.test('AC-005: without a valid token the response is 401 with WWW-Authenticate', async t => {
  for (const [what, authorization] of Object.entries(invalid)) {
    const answer = await get('/api/v1/jobs/job-123', authorization)
    t.equal(answer.status, 401, what)
    t.equal(answer.headers.get('www-authenticate'), 'Bearer', what)
    const problem: Json = await answer.json()
    t.equal(problem.code, 'UNAUTHORIZED', what)
    t.notMatch(JSON.stringify(problem), /Running|exp|alg|signature|tenant/, 'it does not say what was wrong')
  }
})

t.test('a valid token of the same form is accepted', async t => {
  t.equal((await get('/api/v1/jobs/job-123', `Bearer ${signed(goodClaims())}`)).status, 200)
  t.equal((await get('/api/v1/jobs/job-123', `bearer ${token()}`)).status, 200, 'the scheme in any case')
  t.equal((await get('/api/v1/jobs/job-123', `Bearer ${token({ sub: 'a'.repeat(256) })}`)).status, 200)
  t.equal((await get('/api/v1/jobs/job-123', `Bearer ${token({ tenant: 'ü 会社' })}`)).status, 200)
})

t.test('AC-005: 401 comes before anything is revealed', async t => {
  const known = await whole(await get('/api/v1/jobs/job-123'))
  const unknown = await whole(await get('/api/v1/jobs/job-321'))
  t.same({
    ...known,
    body: known.body.replaceAll(
      'job-123', 'job-321'
    )
  }, unknown, 'a job that exists gets the same response as one that does not')
  const requests: Array<[string, RequestInit]> = [
    ['/api/v1/jobs/non-existent-job', {}],
    ['/api/v1/jobs/job-123', { headers: { 'if-none-match': '*' } }],
    ['/api/v1/jobs/%00', {}],
    ['/api/v1/jobs/%ZZ', {}],
    [`/api/v1/jobs/${'a'.repeat(10_000)}`, {}],
    ['/api/jobs/a b/status', {}],
    ['/api/jobs/job-123/status', {}],
    ['/api/jobs/job-123/result', {}],
    ['/api/v1/jobs/job-123/result', {}],
    ['/api/v1/jobs', { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } }],
    ['/api/v1/jobs', { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } }],
    ['/api/v1/jobs', {
      method: 'POST',
      body: 'x',
      headers: {
        'content-type': 'application/json', 'content-encoding': 'gzip'
      }
    }],
    ['/api/v1/jobs', {
      method: 'POST',
      body: 'x'.repeat(1024 * 1024 + 1),
      headers: {
        'content-type': 'application/json'
      }
    }],
    ['/api/v1/jobs', { method: 'POST' }],
    ['/api/v1/jobs/job-123', { method: 'DELETE' }],
    ['/api/v1/no-such-route', {}],
    ['/api/nothing', { method: 'PUT' }]
  ]
  for (const [path, init] of requests) {
    const answer = await get(path, undefined, init)
    const what = `${init.method ?? 'GET'} ${path.slice(0, 60)}`
    t.equal(answer.status, 401, what)
    t.equal(answer.headers.get('www-authenticate'), 'Bearer', what)
    t.equal(answer.headers.get('etag') ?? answer.headers.get('job-state'), null, what)
    await answer.arrayBuffer()
  }
})

t.test('the failure has the shape of its path', async t => {
  t.match(await (await get('/api/v1/jobs/x')).json(), { status: 401, code: 'UNAUTHORIZED', instance: '/api/v1/jobs/x' })
  t.match(await (await get('/api/jobs/x/status')).json(), { success: false, error: { code: 'UNAUTHORIZED' } })
  t.equal((await get('/api/jobs/x/status', undefined, { method: 'HEAD' })).status, 401)
})

t.test('a scope allows what it names and nothing else', async t => {
  const submission = { method: 'POST', body: { type: 'anything', input: null } }
  const cases = [
    { scope: 'jobs:read', read: 200, write: 403 },
    { scope: 'jobs:write', read: 403, write: 202 },
    { scope: 'jobs:write  jobs:read', read: 200, write: 202 },
    { scope: 'jobs:work', read: 403, write: 403 },
    { scope: 'jobs:admin', read: 403, write: 403 },
    { scope: 'jobs:admin jobs:read', read: 200, write: 403 },
    { scope: 'jobs:reader JOBS:READ jobs', read: 403, write: 403 },
    { scope: '', read: 403, write: 403 }
  ]
  for (const { scope, read, write } of cases) {
    for (const path of ['/api/v1/jobs/job-123', '/api/jobs/job-123/status']) {
      t.equal((await ask(path, { claims: { scope } })).status, read, `${scope}: GET ${path}`)
    }
    t.equal((await ask('/api/v1/jobs', { claims: { scope }, ...submission })).status, write, `${scope}: POST`)
  }
  t.equal((await ask('/api/v1/jobs/job-123')).status, 200, 'a token without scope reads')
  t.equal((await ask('/api/v1/jobs', submission)).status, 202, 'and writes')
})

t.test('403 says which scope is missing, and not whether the job exists', async t => {
  const claims = { scope: 'jobs:write' }
  const [known, unknown] = await Promise.all(
    ['job-123', 'job-321'].map(async id => await whole(await ask(`/api/v1/jobs/${id}`, { claims })))
  )
  t.equal(known?.status, 403)
  t.same({ ...known, body: known?.body.replaceAll('job-123', 'job-321') }, unknown)
  t.match(JSON.parse(known?.body ?? ''), { code: 'FORBIDDEN', detail: /jobs:read/ })
  for (const path of ['/api/v1/jobs/job-123/result', '/api/jobs/job-123/result', '/api/jobs/%00/status']) {
    t.equal((await ask(path, { claims })).status, 403, path)
  }
})

t.test('a report reads other jobs, so its submission needs jobs:read', async t => {
  const answer = await ask('/api/v1/jobs', {
    method: 'POST', claims: { scope: 'jobs:write' }, body: { type: 'report', input: {} }
  })
  t.equal(answer.status, 403)
  t.match(await answer.json(), { code: 'FORBIDDEN', detail: /jobs:read/ })
  t.equal(await service.sql("SELECT count(*) FROM JobExecutionLog WHERE type = 'report'"), '0')
})

t.test('AC-005: an expired token is rejected, though it was verified before', async t => {
  const bearer = token({ exp: Math.floor(Date.now() / 1000) + 60 })
  const status = async () => (await fetch(`${service.url}/api/v1/jobs/no-such-job`, {
    headers: { authorization: `Bearer ${bearer}` }
  })).status
  t.same([await status(), await status()], [404, 404])
  const realNow = Date.now
  Date.now = () => realNow() + 61_000
  t.teardown(() => { Date.now = realNow })
  t.equal(await status(), 401)
})
