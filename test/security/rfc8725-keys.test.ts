import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config/config.ts'
import { type Service, startService } from '../helpers/service.ts'
import { serveKeys, toJwk } from './served-keys.ts'
import { signed, toBase64Url } from './signing.ts'

/*
 * RFC 8725 where keys are public: what a key may verify, and that it is never taken for anything else.
 */

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ed = generateKeyPairSync('ed25519')
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })

const kinds = {
  RSA: { ...rsa, algs: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] },
  'P-256': { ...p256, algs: ['ES256'] },
  'P-384': { ...p384, algs: ['ES384'] },
  'P-521': { ...p521, algs: ['ES512'] },
  Ed25519: { ...ed, algs: ['EdDSA'] }
}
const allAlgs = Object.values(kinds).flatMap(({ algs }) => algs)

const start = (t: Test, env: Record<string, string>) => startService(t, { WORKERS: '0', JWT_SECRET: '', ...env })

// The id names no job: 404 says that the token was good.
const statusOf = async ({ url }: Service, token: string): Promise<number> =>
  (await fetch(`${url}/api/v1/jobs/no-such-job`, { headers: { authorization: `Bearer ${token}` } })).status

/** A signature by another kind of key, of the other's algorithm or of one that it only claims. */
const signer = (alg: string) => Object.values(kinds).find(({ algs }) => algs.includes(alg))?.privateKey as KeyObject

/** Every way to write down a public key that somebody may have taken for a secret. */
const textsOf = (key: KeyObject): Array<string | Buffer> => {
  const spki = key.export({ type: 'spki', format: 'pem' }).toString()
  const der = key.export({ type: 'spki', format: 'der' })
  const jwk = key.export({ format: 'jwk' })
  const pkcs1 = key.asymmetricKeyType === 'rsa'
    ? [key.export({ type: 'pkcs1', format: 'pem' }).toString(), key.export({
        type: 'pkcs1', format: 'der'
      }), Buffer.from(String(jwk.n), 'base64url'), String(jwk.n)]
    : [Buffer.from(String(jwk.x), 'base64url'), String(jwk.x)]
  const lines = spki.trim().split('\n')
  const pems = [
    spki, spki.trim(), spki.replaceAll('\n', '\r\n'), spki.trim().replaceAll('\n', '\r\n'), spki.replaceAll('\n', ''),
    spki.replaceAll('\n', ' '), spki.replaceAll('\n', '\\n'),
    ` ${spki}`, `\n${spki}`, `${spki}\n`, `\ufeff${spki}`, `${spki}\0`, `"${spki}"`, lines.slice(1, -1).join(''),
    lines.slice(1, -1).join('\n')
  ]
  return [
    ...pems, der, der.toString('base64'), toBase64Url(der), der.toString('hex'), JSON.stringify(jwk),
    JSON.stringify({ keys: [jwk] }), ...pkcs1
  ]
}

for (const [kind, { publicKey, algs }] of Object.entries(kinds)) {
  t.test(`2.1, 3.1: a key of ${kind} verifies ${algs.join(', ')} and nothing else`, async t => {
    const service = await start(t, { JWT_PUBLIC_KEY: publicKey.export({ type: 'spki', format: 'pem' }).toString() })
    for (const alg of algs) t.equal(await statusOf(service, signed({ alg, key: signer(alg) })), 404, alg)
    const own = algs[0] ?? ''
    for (const alg of allAlgs.filter(alg => !algs.includes(alg))) {
      t.equal(await statusOf(service, signed({ alg, key: signer(alg) })), 401, `${alg} by a key of its own`)
      t.equal(
        await statusOf(service, signed({ alg, key: signer(alg), header: { alg: own } })), 401, `${alg} that says ${own}`
      )
      t.equal(
        await statusOf(service, signed({ alg: own, key: signer(own), header: { alg } })), 401, `${own} that says ${alg}`
      )
    }
    for (const alg of ['HS384', 'HS512']) {
      t.equal(await statusOf(service, signed({ alg, key: textsOf(publicKey)[0] ?? '' })), 401, alg)
    }
    if (kind === 'RSA') {
      t.equal(await statusOf(service, signed({
        alg: 'PS256', key: signer('PS256'), header: { alg: 'RS256' }
      })), 401, 'PS256 that says RS256')
      t.equal(await statusOf(service, signed({
        alg: 'RS512', key: signer('RS512'), header: { alg: 'RS256' }
      })), 401, 'RS512 that says RS256')
    }
    for (const text of textsOf(publicKey)) {
      t.equal(await statusOf(service, signed({
        alg: 'HS256', key: text
      })), 401, `HS256 with ${JSON.stringify(String(text).slice(0, 30))}`)
      t.equal(await statusOf(service, signed({
        alg: 'HS256', key: text, header: { alg: own }
      })), 401, `HS256 that says ${own}`)
    }
  })
}

t.test('3.4: a curve signature of zeros, of the order, or in another form is invalid', async t => {
  const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
  const zero = Buffer.alloc(32)
  const one = Buffer.concat([Buffer.alloc(31), Buffer.from([1])])
  const service = await start(t, { JWT_PUBLIC_KEY: p256.publicKey.export({ type: 'spki', format: 'pem' }).toString() })
  const good = signed({ alg: 'ES256', key: p256.privateKey })
  const [header, payload, signature = ''] = good.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  t.equal(await statusOf(service, good), 404)
  const pairs = [zero, one, order].flatMap(r => [zero, one, order].map(s => Buffer.concat([r, s])))
  // The same numbers as they stand in certificates.
  const der = Buffer.from('3006020100020100', 'hex')
  const other = [...pairs, der, Buffer.alloc(0), bytes.subarray(0, 63), Buffer.concat([
    bytes, Buffer.alloc(1)
  ]), Buffer.concat([zero.subarray(1), bytes]), randomBytes(64)]
  for (const forged of other) {
    t.equal(
      await statusOf(service, `${header}.${payload}.${toBase64Url(forged)}`), 401, forged.toString('hex').slice(0, 140)
    )
  }
  for (let length = 0; length < 70; length++) {
    t.equal(await statusOf(service, `${header}.${payload}.${toBase64Url(Buffer.alloc(length))}`), 401)
  }
})

t.test('3.5: a short RSA key is rejected, from the settings and from a set', async t => {
  const short = generateKeyPairSync('rsa', { modulusLength: 1024 })
  t.throws(() => loadConfig({
    JWT_PUBLIC_KEY: short.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  }), { message: /2048/ })
  const { url } = await serveKeys(t, toJwk(short.publicKey, 'short'), toJwk(rsa.publicKey, 'long'))
  const service = await start(t, { JWKS_URL: url })
  t.equal(await statusOf(service, signed({ alg: 'RS256', key: rsa.privateKey, header: { kid: 'long' } })), 404)
  t.equal(await statusOf(service, signed({ alg: 'RS256', key: short.privateKey, header: { kid: 'short' } })), 401)
  t.equal(await statusOf(service, signed({ alg: 'RS256', key: rsa.privateKey })), 404, 'the long one of both')
  t.equal(await statusOf(service, signed({ alg: 'RS256', key: short.privateKey })), 401)
})

t.test('3.1: a key of a set is used only for the algorithm, use and operations that it names', async t => {
  const { url } = await serveKeys(t,
    toJwk(rsa.publicKey, 'ps', { alg: 'PS256' }), toJwk(rsa.publicKey, 'enc', { use: 'enc' }),
    toJwk(p256.publicKey, 'derive', { use: undefined, key_ops: ['deriveBits'] }),
    toJwk(p256.publicKey, 'oaep', { alg: 'RSA-OAEP' }), toJwk(ed.publicKey, 'ed', { alg: 'EdDSA' }))
  const service = await start(t, { JWKS_URL: url })
  const status = (alg: string, kid: unknown, key: KeyObject) => statusOf(service, signed({ alg, key, header: { kid } }))
  t.equal(await status('PS256', 'ps', rsa.privateKey), 404)
  t.equal(await status('EdDSA', 'ed', ed.privateKey), 404)
  for (const alg of ['RS256', 'RS512', 'PS384']) t.equal(await status(alg, 'ps', rsa.privateKey), 401, alg)
  t.equal(await status('RS256', 'enc', rsa.privateKey), 401, 'a key for encryption')
  t.equal(await status('ES256', 'derive', p256.privateKey), 401, 'a key for agreements')
  t.equal(await status('ES256', 'oaep', p256.privateKey), 401, 'a key of another algorithm')
})

t.test('3.10: with a set, too, a key or an address in the token is not used', async t => {
  const mine = await serveKeys(t, toJwk(rsa.publicKey, 'k'))
  const { url, fetches } = await serveKeys(t, toJwk(p256.publicKey, 'k'))
  const service = await start(t, { JWKS_URL: url })
  const base = new URL(mine.url).origin
  for (const header of [{ jku: mine.url }, { x5u: mine.url }, {
    jwk: rsa.publicKey.export(
      { format: 'jwk' }
    )
  }, { iss: base }, { x5c: ['MIIB'] }, { 'x5t#S256': 'x' }]) {
    t.equal(await statusOf(service, signed({
      alg: 'RS256', key: rsa.privateKey, header: { kid: 'k', ...header }, claims: { iss: base }
    })), 401, Object.keys(header).join())
  }
  t.equal(mine.fetches(), 0)
  t.equal(fetches(), 1)
  for (const kid of ['../keys', 'K', 'k ', '\u0000k', '__proto__', 'x'.repeat(8000)]) {
    t.equal(
      await statusOf(service, signed({ alg: 'ES256', key: p256.privateKey, header: { kid } })), 401, kid.slice(0, 20)
    )
  }
  for (const kid of [7, null, ['k'], { toString: 'k' }, true]) {
    t.equal(
      await statusOf(service, signed({ alg: 'ES256', key: p256.privateKey, header: { kid } })), 401, JSON.stringify(kid)
    )
  }
  t.equal(fetches(), 1, 'and is no reason to fetch the set again')
})

t.test('2.1: no text of a set works as a secret, and alg none is rejected', async t => {
  const { url, keys } = await serveKeys(t, toJwk(rsa.publicKey, 'r'))
  const service = await start(t, { JWKS_URL: url })
  for (const text of [...textsOf(rsa.publicKey), JSON.stringify({ keys }), JSON.stringify(keys[0])]) {
    t.equal(await statusOf(service, signed({ alg: 'HS256', key: text, header: { kid: 'r' } })), 401)
    t.equal(await statusOf(service, signed({ alg: 'HS256', key: text, header: { kid: 'r', alg: 'RS256' } })), 401)
  }
  const [header, payload] = signed({ alg: 'RS256', key: rsa.privateKey, header: { kid: 'r', alg: 'none' } }).split('.')
  t.equal(await statusOf(service, `${header}.${payload}.`), 401)
})
