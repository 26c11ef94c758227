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

// The header, and the reason in the challenge; null: no token was sent.
const invalid: Record<string, [header: string | undefined, reason: string | null]> = {
  'no header': [undefined, null],
  'an empty header': ['', null],
  'another scheme': [`Basic ${Buffer.from('a:b').toString('base64')}`, null],
  'the scheme alone': ['Bearer', null],
  'the scheme and a space': ['Bearer ', null],
  'a token without the scheme': [token(), null],
  garbage: ['Bearer garbage', 'malformed token'],
  'three garbage parts': ['Bearer a.b.c', 'malformed token'],
  'two tokens': [`Bearer ${token()} ${token()}`, 'malformed token'],
  'a token of 10,000 characters': [`Bearer ${'a'.repeat(10_000)}`, 'malformed token'],
  'the wrong key': [`Bearer ${signed(goodClaims(), undefined, 'another-secret-that-is-not-configured-99')}`, 'wrong signature'],
  'a changed payload': [`Bearer ${signed(goodClaims()).replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify(goodClaims({ tenant: 'x' }))).toString('base64url')}.`)}`, 'wrong signature'],
  'no signature': [`Bearer ${signed(goodClaims()).replace(/[^.]+$/, '')}`, 'malformed token'],
  'an expired token': [`Bearer ${signed(goodClaims({ exp: now() - 1 }))}`, 'token expired'],
  'no exp': [`Bearer ${signed(without('exp'))}`, 'claim exp missing'],
  'exp null': [`Bearer ${signed(goodClaims({ exp: null }))}`, 'claim exp not valid'],
  'exp as text': [`Bearer ${signed(goodClaims({ exp: 'never' }))}`, 'claim exp not valid'],
  'a token of the future': [`Bearer ${signed(goodClaims({ nbf: now() + 300 }))}`, 'token not valid yet'],
  'alg none': [`Bearer ${handmade({ alg: 'none' }, goodClaims(), () => '')}`, 'malformed token'],
  'alg None': [`Bearer ${handmade({ alg: 'None', typ: 'JWT' }, goodClaims(), () => '')}`, 'malformed token'],
  'no alg': [`Bearer ${signed(goodClaims(), { typ: 'JWT' })}`, 'algorithm not accepted'],
  'another alg of the same family': [`Bearer ${signed(goodClaims(), { alg: 'HS512' })}`, 'algorithm not accepted'],
  'no sub': [`Bearer ${signed(without('sub'))}`, 'claim sub missing'],
  'an empty sub': [`Bearer ${signed(goodClaims({ sub: '' }))}`, 'claim sub not valid'],
  'sub as a number': [`Bearer ${signed(goodClaims({ sub: 7 }))}`, 'claim sub not valid'],
  'sub null': [`Bearer ${signed(goodClaims({ sub: null }))}`, 'claim sub not valid'],
  'a sub of 257 characters': [`Bearer ${signed(goodClaims({ sub: 'a'.repeat(257) }))}`, 'claim sub not valid'],
  'a sub with a NUL': [`Bearer ${signed(goodClaims({ sub: 'a\0' }))}`, 'claim sub not valid'],
  'a tenant with a NUL': [`Bearer ${signed(goodClaims({ tenant: 'a\0' }))}`, 'claim tenant not valid'],
  'tenant as a list': [`Bearer ${signed(goodClaims({ tenant: ['tester'] }))}`, 'claim tenant not valid'],
  'tenant null': [`Bearer ${signed(goodClaims({ tenant: null }))}`, 'claim tenant not valid'],
  'an empty tenant': [`Bearer ${signed(goodClaims({ tenant: '' }))}`, 'claim tenant not valid'],
  'scope as a list of others': [`Bearer ${signed(goodClaims({ scope: ['jobs:read', 7] }))}`, 'claim scope not valid'],
  'scope as an object': [`Bearer ${signed(goodClaims({ scope: {} }))}`, 'claim scope not valid'],
  'scp as a number': [`Bearer ${signed(goodClaims({ scp: 7 }))}`, 'claim scp not valid'],
  'a token for another purpose': [`Bearer ${signed(goodClaims(), { alg: 'HS256', typ: 'logout+jwt' })}`, 'not an access token'],
  'a critical extension': [`Bearer ${signed(goodClaims(), { alg: 'HS256', crit: ['x'], x: 1 })}`, 'critical extension not supported'],
  'scope null': [`Bearer ${signed(goodClaims({ scope: null }))}`, 'claim scope not valid'],
  'a payload that is a text': [`Bearer ${signed('tester')}`, 'malformed token'],
  'a payload that is null': [`Bearer ${signed(null)}`, 'malformed token'],
  'a payload that is a list': [`Bearer ${signed([goodClaims()])}`, 'malformed token']
}

t.test('AC-005: without a valid token the response is 401 and says why, to the client and in the log', async t => {
  for (const [what, [authorization, reason]] of Object.entries(invalid)) {
    const answer = await get('/api/v1/jobs/job-123', authorization)
    t.equal(answer.status, 401, what)
    const challenge = reason === null ? 'Bearer' : `Bearer error="invalid_token", error_description="${reason}"`
    t.equal(answer.headers.get('www-authenticate'), challenge, what)
    const problem: Json = await answer.json()
    t.equal(problem.code, 'UNAUTHORIZED', what)
    t.equal(problem.detail.endsWith(reason === null ? '…".' : `: ${reason}.`), true, what)
    t.notMatch(JSON.stringify(problem), /Running|challenge/)
    const line = service.logs.filter(({ msg }) => msg === 'token rejected').at(-1)
    t.equal(line?.reason, reason ?? undefined, what)
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
  const claims: Array<[Record<string, unknown>, number]> = [
    [{ scope: ['jobs:read', 'jobs:write'] }, 200],
    [{ scope: [] }, 403],
    [{ scope: ['jobs:read jobs:write'] }, 403],
    [{ scp: 'jobs:write jobs:read' }, 200],
    [{ scp: ['jobs:read'] }, 200],
    [{ scp: '' }, 403],
    [{ scope: '', scp: 'jobs:read' }, 403]
  ]
  for (const [claim, status] of claims) {
    t.equal((await ask('/api/v1/jobs/job-123', { claims: claim })).status, status, JSON.stringify(claim))
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
  t.equal(
    (await ask('/api/v1/jobs/job-123', { claims })).headers.get('www-authenticate'),
    'Bearer error="insufficient_scope", scope="jobs:read"'
  )
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
