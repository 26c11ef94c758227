import fastify, { type FastifyRequest } from 'fastify'
import t from 'tap'
import { registerAuth } from '../../src/http/auth/authenticate.ts'
import { startService } from '../helpers/service.ts'
import { secret } from '../helpers/tokens.ts'
import { insertRows } from '../http/rows.ts'
import { signed } from './signing.ts'

/*
 * A verification is cached by the whole text of its header: no header that only resembles it may get its principal.
 */

const service = await startService(t, { WORKERS: '0' })
await insertRows(service, { jobId: 'of-acme', status: 'Running', tenant: 'acme' }, {
  jobId: 'of-globex', status: 'Running', tenant: 'globex'
})

const statusOf = async (
  authorization: string, path = '/api/v1/jobs/of-acme', init: RequestInit = {}
): Promise<number> =>
  (await fetch(service.url + path, { ...init, headers: { authorization } })).status
const tokenOf = (tenant: string, more: object = {}) => signed({
  alg: 'HS256', key: secret, claims: { tenant, ...more }
})

t.test('a header that differs in one character is verified, and rejected', async t => {
  const known = `Bearer ${tokenOf('acme')}`
  t.same([await statusOf(known), await statusOf(known)], [200, 200])
  for (let at = 7; at < known.length; at++) {
    const character = known[at] === 'A' ? 'B' : 'A'
    t.equal(await statusOf(`${known.slice(0, at)}${character}${known.slice(at + 1)}`), 401, `another at ${at}`)
  }
  for (let at = 7; at < known.length; at += 11) {
    t.equal(await statusOf(known.slice(0, at) + known.slice(at + 1)), 401, `one fewer at ${at}`)
    t.equal(await statusOf(`${known.slice(0, at)}\u00ad${known.slice(at)}`), 401, `one that is not seen at ${at}`)
  }
  t.equal(await statusOf(known), 200)
})

t.test('the scheme may be in any case, and anything beside it makes the header invalid', async t => {
  const known = `Bearer ${tokenOf('acme')}`
  t.equal(await statusOf(known), 200)
  for (const same of [
    known.replace('Bearer', 'bearer'), known.replace('Bearer', 'BEARER'), ` ${known} `, `\t${known}`
  ]) {
    t.equal(await statusOf(same), 200, JSON.stringify(same.slice(0, 9)))
  }
  for (const other of [
    known.slice(7), `${known},`, `${known}, x`, `${known}.`, `${known}=`, `${known}\u00a0`, `${known} x`,
    `${known};a=b`, known.toLowerCase(), known.toUpperCase(), known.replace(' ', '  ')
  ]) {
    t.equal(await statusOf(other), 401, JSON.stringify(other.slice(-9)))
  }
})

t.test('each header has the principal of its own token, whichever headers come between', async t => {
  const tokens = Object.fromEntries(['acme', 'globex'].map(tenant => [tenant, `Bearer ${tokenOf(tenant)}`]))
  for (let round = 0; round < 20; round++) {
    const asked = ['acme', 'globex'].flatMap(tenant => ['acme', 'globex'].map(owner => ({ tenant, owner })))
    const statuses = await Promise.all(
      asked.map(({ tenant, owner }) => statusOf(tokens[tenant] ?? '', `/api/v1/jobs/of-${owner}`))
    )
    t.same(statuses, [200, 404, 404, 200])
  }
})

t.test('a cached verification allows no more than its token', async t => {
  const reader = `Bearer ${tokenOf('acme', { scope: 'jobs:read' })}`
  const post = { method: 'POST', body: '{}' }
  t.equal(await statusOf(reader), 200)
  t.equal(await statusOf(reader, '/api/v1/jobs/of-acme/cancel', post), 403)
  t.equal(await statusOf(reader, '/api/v1/worker/claim', post), 403)
  const nothing = `Bearer ${tokenOf('acme', { scope: '' })}`
  t.same([await statusOf(nothing), await statusOf(nothing)], [403, 403], 'rejected for its scope, and so again')
})

t.test('a rejected token is not cached, and does not affect others', async t => {
  const good = `Bearer ${tokenOf('acme')}`
  const forged =
    `Bearer ${signed({ alg: 'HS256', key: 'another-secret-that-is-not-configured-99', claims: { tenant: 'acme' } })}`
  t.same([await statusOf(forged), await statusOf(good), await statusOf(forged), await statusOf(good)], [
    401, 200, 401, 200
  ])
  const answers = await Promise.all(Array.from({ length: 60 }, (_, at) => statusOf(at % 2 === 0 ? good : forged)))
  t.same(answers, answers.map((_, at) => at % 2 === 0 ? 200 : 401))
})

t.test('a cached verification ends with the exp of its token, on every route', async t => {
  const realNow = Date.now
  t.teardown(() => { Date.now = realNow })
  const exp = Math.floor(realNow() / 1000) + 600
  const bearer = `Bearer ${tokenOf('acme', { exp })}`
  const paths = ['/api/v1/jobs/of-acme', '/api/jobs/of-acme/status', '/api/v1/jobs?limit=1', '/api/v1/jobs?ids=of-acme']
  for (const path of paths) t.equal(await statusOf(bearer, path), 200, path)
  Date.now = () => exp * 1000 - 1
  for (const path of paths) t.equal(await statusOf(bearer, path), 200, path)
  Date.now = () => exp * 1000
  for (const path of paths) t.equal(await statusOf(bearer, path), 401, path)
})

t.test('cached verifications take a bounded amount of memory', async t => {
  const app = fastify()
  t.teardown(() => app.close())
  const { cached, verify } = await registerAuth(app, {
    tokenKey: {
      kind: 'secret', secret
    },
    issuer: null,
    audience: null
  }, Date.now)
  app.get('/', verify)
  const headers = Array.from(
    { length: 1000 }, (_, at) => `Bearer ${tokenOf('acme', { padding: `${at}`.padEnd(12_000, 'x') })}`
  )
  for (const authorization of headers) {
    t.equal((await app.inject({ url: '/', headers: { authorization } })).statusCode, 200)
  }
  const kept = headers.filter(authorization => cached({
    headers: { authorization }
  } as FastifyRequest) !== undefined).length
  t.ok(kept > 100 && kept < 600, `${kept} of 1,000 long ones`)
})
