import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Service, startService } from '../../helpers/service.ts'
import { secret, token } from '../../helpers/tokens.ts'
import { serveKeys, toJwk } from '../../security/served-keys.ts'
import { goodClaims, handmade, hs256, withKey } from './handmade-token.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ed = generateKeyPairSync('ed25519')
const toPem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()

const asymmetric = { rsa: { ...rsa, alg: 'RS256' }, ec: { ...ec, alg: 'ES256' }, ed: { ...ed, alg: 'EdDSA' } }

const start = (t: Test, env: Record<string, string>) => startService(t, { WORKERS: '0', JWT_SECRET: '', ...env })
// The id names no job: 404 says that the token was good.
const statusFor = async ({ ask }: Service, bearer: string) =>
  (await ask('/api/v1/jobs/no-such-job', { headers: { authorization: `Bearer ${bearer}` } })).status

for (const [name, { publicKey, privateKey, alg }] of Object.entries(asymmetric)) {
  t.test(`AC-005: JWT_PUBLIC_KEY of ${name} accepts ${alg} and nothing else`, async t => {
    const pem = toPem(publicKey)
    const service = await start(t, { JWT_PUBLIC_KEY: pem })
    t.equal(await statusFor(service, handmade({ alg }, goodClaims(), withKey(privateKey))), 404, 'its own')
    for (const key of [pem, pem.trim(), pem.replaceAll('\n', '')]) {
      t.equal(
        await statusFor(service, handmade({ alg: 'HS256' }, goodClaims(), hs256(key))), 401,
        'HS256 with the text of the key'
      )
    }
    t.equal(await statusFor(service, token()), 401, 'HS256 with some secret')
    t.equal(await statusFor(service, handmade({ alg: 'none' }, goodClaims(), () => '')), 401, 'none')
    t.equal(await statusFor(service, handmade({ alg }, goodClaims({ exp: 1 }), withKey(privateKey))), 401, 'expired')
    for (const other of Object.values(asymmetric).filter(other => other.alg !== alg)) {
      t.equal(
        await statusFor(service, handmade({ alg: other.alg }, goodClaims(), withKey(other.privateKey))), 401, other.alg
      )
      t.equal(
        await statusFor(service, handmade({ alg }, goodClaims(), withKey(other.privateKey))), 401,
        `${alg} signed by ${other.alg}`
      )
    }
  })
}

t.test('AC-005: a key in the header of the token is not used', async t => {
  const service = await start(t, { JWT_PUBLIC_KEY: toPem(ec.publicKey) })
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const header = {
    alg: 'ES256', jwk: other.publicKey.export({ format: 'jwk' }), x5c: ['MIIB'], jku: 'http://127.0.0.1:1/'
  }
  t.equal(await statusFor(service, handmade(header, goodClaims(), withKey(other.privateKey))), 401)
})

t.test('a configured issuer or audience must be in the token and match', async t => {
  const service = await startService(t, {
    WORKERS: '0', JWT_ISSUER: 'https://login.example.org/', JWT_AUDIENCE: 'jobs'
  })
  const claims = { iss: 'https://login.example.org/', aud: 'jobs' }
  const status = (more: object) => statusFor(service, handmade({ alg: 'HS256' }, goodClaims(more), hs256(secret)))
  t.equal(await status(claims), 404, 'both right')
  t.equal(await status({ ...claims, aud: ['mail', 'jobs'] }), 404, 'one of several audiences')
  t.equal(await status({ aud: 'jobs' }), 401, 'no issuer')
  t.equal(await status({ iss: claims.iss }), 401, 'no audience')
  t.equal(await status({ ...claims, iss: 'https://login.example.org' }), 401, 'another issuer')
  t.equal(await status({ ...claims, aud: 'job' }), 401, 'another audience')
  t.equal(await status({ ...claims, aud: [] }), 401, 'an empty list of audiences')
  t.equal(await status({ ...claims, iss: null }), 401, 'issuer null')
})

t.test('JWKS_URL: only keys of the set are accepted, found by kid', async t => {
  const symmetric = { kty: 'oct', kid: 'o', alg: 'HS256', k: Buffer.from(secret).toString('base64url') }
  const { url, fetches } = await serveKeys(
    t, toJwk(rsa.publicKey, 'r'), toJwk(ec.publicKey, 'c'), toJwk(ed.publicKey, 'd'), symmetric
  )
  const service = await start(t, { JWKS_URL: url })
  // Three seconds later it would be right to fetch again.
  const [realNow, at] = [Date.now, Date.now()]
  Date.now = () => at
  t.teardown(() => { Date.now = realNow })
  const status = (header: object, sign: (text: string) => string) => statusFor(
    service, handmade(header, goodClaims(), sign)
  )
  t.equal(await status({ alg: 'RS256', kid: 'r' }, withKey(rsa.privateKey)), 404, 'RS256')
  t.equal(await status({ alg: 'ES256', kid: 'c' }, withKey(ec.privateKey)), 404, 'ES256')
  t.equal(await status({ alg: 'EdDSA', kid: 'd' }, withKey(ed.privateKey)), 404, 'EdDSA')
  t.equal(await status({ alg: 'ES256' }, withKey(ec.privateKey)), 404, 'without a kid, where one key fits')
  t.equal(await status({ alg: 'HS256', kid: 'o' }, hs256(secret)), 401, 'a symmetric key of the set')
  t.equal(await status({ alg: 'HS256', kid: 'r' }, hs256(toPem(rsa.publicKey))), 401, 'HS256 with the text of a key')
  t.equal(await status({ alg: 'none', kid: 'r' }, () => ''), 401, 'none')
  t.equal(await status({ alg: 'RS256', kid: 'c' }, withKey(rsa.privateKey)), 401, 'the kid of another kind of key')
  for (let at = 0; at < 20; at++) {
    t.equal(await status({ alg: 'RS256', kid: `unknown-${at}` }, withKey(rsa.privateKey)), 401, 'an unknown kid')
  }
  t.equal(fetches(), 1, 'unknown kids do not make it fetch again and again')
})

t.test('JWKS_URL: where several keys are possible, each is tried', async t => {
  const [second, strange] = [1, 2].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  const { url } = await serveKeys(
    t, toJwk(ec.publicKey, 'one'), toJwk(second!.publicKey, 'two'), toJwk(second!.publicKey, 'one')
  )
  const service = await start(t, { JWKS_URL: url })
  const status = (header: object, key: KeyObject, claims: object = {}) =>
    statusFor(service, handmade({ alg: 'ES256', ...header }, goodClaims(claims), withKey(key)))
  for (const { privateKey } of [ec, second!]) {
    t.equal(await status({}, privateKey), 404, 'no kid')
    t.equal(await status({ kid: 'one' }, privateKey), 404, 'one kid twice')
    t.equal(await status({ kid: 'one' }, privateKey, { exp: 1 }), 401, 'expired')
  }
  t.equal(await status({}, strange!.privateKey), 401)
  t.equal(await status({ kid: 'one' }, strange!.privateKey), 401)
  t.equal(await status({ kid: 'two' }, ec.privateKey), 401, 'the key of another kid')
})

t.test('EdDSA and Ed25519 name one algorithm, in a token and in a key set', async t => {
  const tokens = ['EdDSA', 'Ed25519'].map(alg => handmade({ alg, kid: 'one' }, goodClaims(), withKey(ed.privateKey)))
  const settings: Array<Record<string, string>> = [{ JWT_PUBLIC_KEY: toPem(ed.publicKey) }]
  for (const alg of ['EdDSA', 'Ed25519', undefined]) {
    settings.push({ JWKS_URL: (await serveKeys(t, toJwk(ed.publicKey, 'one', { alg }))).url })
  }
  for (const env of settings) {
    const service = await start(t, env)
    t.same(await Promise.all(tokens.map(token => statusFor(service, token))), [404, 404])
  }
})
