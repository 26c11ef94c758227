import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config/config.ts'
import { goodClaims } from '../http/auth/handmade-token.ts'
import { startService } from '../helpers/service.ts'
import { secret } from '../helpers/tokens.ts'
import { signatureOf, signed, toBase64Url } from './signing.ts'

/*
 * RFC 8725 (JSON Web Token Best Current Practices), section by section, with a shared secret. What concerns public keys
 * is in rfc8725-keys.test.ts; claims of the wrong kind are in test/http/auth/authenticate.test.ts.
 */

const service = await startService(t, { WORKERS: '0' })

const statusOf = async (authorization: string, { url } = service): Promise<number> =>
  (await fetch(`${url}/api/v1/jobs/no-such-job`, { headers: { authorization } })).status

const hs256 = (more: {
  header?: object | string, claims?: object | string | Buffer
} = {}) => signed({ alg: 'HS256', key: secret, ...more })

// The id names no job: 404 says that the token was good.
const expectTaken = async (t: Test, tokens: Record<string, string>) => {
  for (const [what, token] of Object.entries(tokens)) t.equal(await statusOf(`Bearer ${token}`), 404, what)
}
const expectRejected = async (t: Test, tokens: Record<string, string>) => {
  for (const [what, token] of Object.entries(tokens)) t.equal(await statusOf(`Bearer ${token}`), 401, what)
}

const now = () => Math.floor(Date.now() / 1000)

t.test('2.1, 3.1: the token does not choose its algorithm', async t => {
  await expectTaken(t, { HS256: hs256() })
  const algs = ['HS384', 'HS512', 'hs256', 'HS256 ', 'Hs256', 'HMAC', 'SHA256', '', 'A256KW', 'dir']
  await expectRejected(t, Object.fromEntries(algs.map(alg => [
    alg, signed({ alg: alg.startsWith('HS') && alg.length === 5 ? alg : 'HS256', key: secret, header: { alg } })
  ])))
  const kinds = [null, 256, true, ['HS256'], { toString: 'HS256' }]
  await expectRejected(t, Object.fromEntries(kinds.map(alg => [JSON.stringify(alg), hs256({ header: { alg } })])))
})

t.test('3.2: none is rejected, however it is spelt', async t => {
  const spellings = ['none', 'None', 'NONE', 'nOnE', 'none ', ' none', '\tnone', 'none\u0000', 'n\u043ene', 'nonce', '']
  for (const alg of spellings) {
    const [header, payload, signature] = hs256({ header: { alg } }).split('.') as [string, string, string]
    await expectRejected(t, {
      [`${JSON.stringify(alg)} without a signature`]: `${header}.${payload}.`,
      [`${JSON.stringify(alg)} without the last dot`]: `${header}.${payload}`,
      [`${JSON.stringify(alg)} with the signature of HS256`]: `${header}.${payload}.${signature}`,
      [`${JSON.stringify(alg)} with the signature of nothing`]: `${header}.${payload}.${toBase64Url(signatureOf('HS256', ' ', `${header}.${payload}`))}`
    })
  }
})

t.test('3.3: a nested or encrypted token is rejected', async t => {
  const inner = hs256()
  await expectRejected(t, {
    'a token in a token': hs256({ header: { cty: 'JWT' }, claims: inner }),
    'a token in a token, as JSON text': hs256({ header: { cty: 'JWT' }, claims: JSON.stringify(inner) }),
    'five parts': [
      toBase64Url('{"alg":"dir","enc":"A256GCM"}'), '', toBase64Url('iv'), toBase64Url('text'), toBase64Url('tag')
    ].join('.'),
    'four parts': `${inner}.${inner.split('.')[2]}`,
    'the flattened JSON form': JSON.stringify({
      protected: inner.split('.')[0], payload: inner.split('.')[1], signature: inner.split('.')[2]
    })
  })
})

t.test('3.4, RFC 7515 2: base64url is strict, so a token has one spelling only', async t => {
  const good = hs256({ claims: { more: '???>>>' } })
  const [header, payload, signature] = good.split('.') as [string, string, string]
  await expectTaken(t, { 'as it should be': good })
  const parts = { header, payload, signature }
  const join = (changed: Partial<typeof parts>) => Object.values({ ...parts, ...changed }).join('.')
  for (const [name, part] of Object.entries(parts)) {
    const at = Math.floor(part.length / 2)
    // Signed as they stand, or the signature would be the reason of the rejection.
    const resign = (changed: string) => {
      if (name === 'signature') return join({ signature: changed })
      const text = name === 'header' ? `${changed}.${payload}` : `${header}.${changed}`
      return `${text}.${toBase64Url(signatureOf('HS256', secret, text))}`
    }
    await expectRejected(t, {
      [`${name} padded`]: resign(`${part}=`),
      [`${name} padded twice`]: resign(`${part}==`),
      [`${name} with a blank`]: resign(`${part.slice(0, at)} ${part.slice(at)}`),
      [`${name} with a tab`]: resign(`${part.slice(0, at)}\t${part.slice(at)}`),
      [`${name} with a foreign character`]: resign(`${part.slice(0, at)}*${part.slice(at)}`),
      [`${name} with a character too many`]: resign(`${part.padEnd(Math.ceil(part.length / 4) * 4, 'A')}A`)
    })
  }
  const withPlus =
    `${header}.${Buffer.from(JSON.stringify(goodClaims({ more: '???>>>' }))).toString('base64').replaceAll('=', '')}`
  t.match(withPlus, /[+/]/)
  await expectRejected(t, {
    'the other alphabet': `${withPlus}.${toBase64Url(signatureOf('HS256', secret, withPlus))}`
  })
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(signature.slice(-1))
  const twins = [1, 2, 3].map(bits => `${signature.slice(0, -1)}${alphabet[last ^ bits]}`)
  for (const twin of twins) {
    t.same(Buffer.from(twin, 'base64url'), Buffer.from(signature, 'base64url'), 'the same bytes')
    await expectRejected(t, { 'a signature with other trailing bits': join({ signature: twin }) })
  }
})

t.test('3.4: only the whole signature counts', async t => {
  const [header, payload, signature] = hs256().split('.') as [string, string, string]
  const bytes = Buffer.from(signature, 'base64url')
  const other = (changed: Buffer) => `${header}.${payload}.${toBase64Url(changed)}`
  await expectRejected(t, {
    'cut by a byte': other(bytes.subarray(0, -1)),
    'a byte alone': other(bytes.subarray(0, 1)),
    'with a byte more': other(Buffer.concat([bytes, Buffer.alloc(1)])),
    'of zeros': other(Buffer.alloc(32)),
    'as hexadecimal': `${header}.${payload}.${bytes.toString('hex')}`,
    'of the payload alone': `${header}.${payload}.${toBase64Url(signatureOf('HS256', secret, payload))}`,
    'of the header of another': `${toBase64Url('{"typ":"JWT","alg":"HS256"}')}.${payload}.${signature}`
  })
})

t.test('3.5: the service does not start with a weak secret, or one that others can read', async t => {
  const pem = '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----'
  const rejected = ['short', 'x'.repeat(31), pem, pem.replaceAll('\n', ''), pem.replaceAll('\n', '\\n'), ` \n${pem}`,
    '{"kty":"RSA","n":"AQAB","e":"AQAB","use":"sig"}', '{"keys":[{"kty":"EC","crv":"P-256","x":"x","y":"y"}]}',
    pem.replaceAll('PUBLIC KEY', 'CERTIFICATE'), pem.replaceAll('PUBLIC', 'RSA PUBLIC')]
  for (const key of rejected) {
    t.throws(() => loadConfig({ JWT_SECRET: key }), { message: /^JWT_SECRET: / }, JSON.stringify(key))
  }
  t.ok(loadConfig({ JWT_SECRET: 'x'.repeat(32) }))
})

t.test('3.6: a compressed token is not inflated', async t => {
  await expectRejected(t, {
    'a zipped payload': hs256({ header: { zip: 'DEF' }, claims: Buffer.from('4yrOz0tVslJQqqWlBQA', 'base64url') })
  })
})

t.test('3.7: header and claims are UTF-8', async t => {
  const claims = (sub: Buffer) => Buffer.concat([Buffer.from('{"sub":"'), sub, Buffer.from(`","exp":${now() + 60}}`)])
  await expectTaken(t, { 'UTF-8': hs256({ claims: claims(Buffer.from('Müller 会社 😀')) }) })
  await expectRejected(t, {
    'Latin-1': hs256({ claims: claims(Buffer.from('Müller', 'latin1')) }),
    'half a character': hs256({ claims: claims(Buffer.from([0xe4, 0xbc])) }),
    'a long form of /': hs256({ claims: claims(Buffer.from([0xc0, 0xaf])) }),
    'a surrogate': hs256({ claims: claims(Buffer.from([0xed, 0xa0, 0x80])) }),
    'an escaped half': hs256({ claims: claims(Buffer.from('\\ud83d')) }),
    'a mark of byte order': hs256({
      claims: Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), claims(Buffer.from('tester'))])
    }),
    'UTF-16': hs256({ claims: Buffer.from(claims(Buffer.from('tester')).toString(), 'utf16le') })
  })
})

t.test('3.8, 3.9: issuer and audience are compared exactly', async t => {
  const strict = await startService(t, { WORKERS: '0', JWT_ISSUER: 'https://login.example.org/', JWT_AUDIENCE: 'jobs' })
  const status = (claims: object) => statusOf(
    `Bearer ${hs256({ claims: { iss: 'https://login.example.org/', aud: 'jobs', ...claims } })}`, strict
  )
  t.equal(await status({}), 404)
  const wrong: object[] = [
    ...[
      'https://login.example.org/x', 'https://LOGIN.example.org/', ' https://login.example.org/',
      'https://login.example.org/\u0000',
      'https://login.example.org.evil.example/', ['https://login.example.org/'], { toString: 'x' }, true
    ].map(iss => ({ iss })),
    ...[
      'Jobs', 'jobs ', 'jobs,mail', 'job', '', null, 0, {}, [['jobs']], ['mail'], { 0: 'jobs', length: 1 }, ['jobs', 7]
    ].map(aud => ({ aud }))
  ]
  for (const claims of wrong) t.equal(await status(claims), 401, JSON.stringify(claims))
})

t.test('3.8: subject and tenant are compared exactly', async t => {
  await expectRejected(t, Object.fromEntries([true, 0, 1e9, [], {}, ['tester'], { toString: 'x' }].map(
    sub => [JSON.stringify(sub), hs256({ claims: { sub } })]
  )))
  for (const twice of ['"sub":"a","sub":["b"]', '"sub":"a","sub":""']) {
    await expectRejected(t, { [twice]: hs256({ claims: `{${twice},"exp":${now() + 60}}` }) })
  }
  await expectRejected(t, { 'only inherited': hs256({ claims: `{"__proto__":{"sub":"tester"},"exp":${now() + 60}}` }) })
})

t.test('3.10, RFC 7515 4: of duplicate members only the last counts', async t => {
  const exp = now() + 60
  await expectRejected(t, {
    'none last': hs256({ header: '{"alg":"HS256","alg":"none"}' }),
    'an end that is past last': hs256({ claims: `{"sub":"tester","exp":${exp},"exp":1}` }),
    'a begin to come last': hs256({ claims: `{"sub":"tester","exp":${exp},"nbf":1,"nbf":${exp}}` })
  })
  await expectTaken(t, { 'HS256 last': hs256({ header: '{"alg":"none","alg":"HS256"}' }) })
  const scopes = (first: string, last: string) => hs256({
    claims: `{"sub":"tester","exp":${exp},"scope":"${first}","scope":"${last}"}`
  })
  t.equal(
    await statusOf(`Bearer ${scopes('jobs:read', 'jobs:work')}`), 403, 'the scope that is overwritten opens nothing'
  )
})

t.test('3.10: a kid is a name, and neither a path nor a query', async t => {
  const kids = [
    '../../../../dev/null', '/etc/passwd', "' OR 1=1 --", "x' UNION SELECT 'a-secret", '| sleep 5',
    'http://127.0.0.1:1/', '__proto__', 'constructor', '', '\u0000', 'k'.repeat(8000)
  ]
  await expectTaken(t, Object.fromEntries(kids.map(kid => [kid.slice(0, 40), hs256({ header: { kid } })])))
  await expectRejected(
    t, Object.fromEntries(kids.map(kid => [kid.slice(0, 40), signed({ alg: 'HS256', key: ' ', header: { kid } })]))
  )
  await expectRejected(
    t, Object.fromEntries([7, null, true, ['a'], {}].map(kid => [JSON.stringify(kid), hs256({ header: { kid } })]))
  )
})

t.test('3.10: a key in the header is ignored', async t => {
  const mine = 'a-key-that-the-sender-has-made-up-himself-123'
  const jwk = { kty: 'oct', k: toBase64Url(mine), alg: 'HS256' }
  await expectRejected(t, Object.fromEntries([
    { jwk }, { jwks: { keys: [jwk] } }, { jku: `${service.url}/livez` }, { x5u: `${service.url}/livez` },
    { x5c: [Buffer.from(mine).toString('base64')] }, { k: toBase64Url(mine) }
  ].map(header => [Object.keys(header).join(), signed({ alg: 'HS256', key: mine, header })])))
  t.notOk(service.logs.some(line => String(line.route) === '/livez'), 'and none was fetched')
})

t.test('3.10, RFC 7515 4.1.11: a token with a critical extension is rejected', async t => {
  const crits: object[] = [
    { crit: ['exp'] }, { crit: ['b64'], b64: false }, { crit: ['b64'], b64: true }, { crit: ['alg'] },
    { crit: ['x'], x: 1 }, { crit: [] }, { crit: null }, { crit: '' },
    { crit: 'x' }, { crit: 0 }, { crit: false }, { crit: {} }, { crit: [null] }, { crit: ['x', 'x'], x: 1 },
    { crit: ['__proto__'] }
  ]
  await expectRejected(t, Object.fromEntries(crits.map(header => [JSON.stringify(header), hs256({ header })])))
  await expectTaken(t, { 'what need not be understood': hs256({ header: { 'https://example.org/x': 1 } }) })
})

t.test('3.11, 3.12: a token of another type is not accepted as an access token', async t => {
  const types = ['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/at+jwt', 'application/jwt', undefined]
  await expectTaken(t, Object.fromEntries(types.map(typ => [String(typ), hs256({ header: { typ } })])))
  const others = [
    'logout+jwt', 'dpop+jwt', 'secevent+jwt', 'token-introspection+jwt', 'oauth-authz-req+jwt', 'kb+jwt', 'JWE', 'JOSE',
    'text/plain', 'at+jwt ', 'application/application/jwt', '', 'constructor', null, 7, ['JWT'], {}
  ]
  await expectRejected(t, Object.fromEntries(others.map(typ => [JSON.stringify(typ), hs256({ header: { typ } })])))
})

t.test('RFC 7519 4.1.4, 4.1.5: a token is valid from nbf until before exp, without tolerance', async t => {
  const realNow = Date.now
  t.teardown(() => { Date.now = realNow })
  const second = 2_000_000_000
  const at = async (ms: number, claims: object) => {
    Date.now = () => ms
    return await statusOf(`Bearer ${hs256({ claims: { exp: second + 60, ...claims } })}`)
  }
  t.equal(await at(second * 1000 - 1, { exp: second }), 404)
  t.equal(await at(second * 1000, { exp: second }), 401, 'on or after which')
  t.equal(await at(second * 1000 - 1, { exp: second }), 404, 'verified again')
  t.equal(await at(second * 1000 + 250, { exp: second + 0.5 }), 404, 'fractions count')
  t.equal(await at(second * 1000 + 500, { exp: second + 0.5 }), 401)
  t.equal(await at(second * 1000 - 1, { nbf: second }), 401)
  t.equal(await at(second * 1000, { nbf: second }), 404)
  Date.now = realNow
})

t.test('RFC 7519 4.1: times are numbers, and odd ones are rejected', async t => {
  const exp = now() + 60
  const payload = (rest: string) => hs256({ claims: `{"sub":"tester",${rest}}` })
  await expectRejected(t, Object.fromEntries([
    '"exp":1e-5', '"exp":-1', '"exp":0', '"exp":-0', '"exp":-1e308', '"exp":"9999999999"', '"exp":[9999999999]',
    '"exp":{}', '"exp":true',
    `"exp":${exp},"nbf":1e300`, `"exp":${exp},"nbf":1e999`, `"exp":${exp},"nbf":"0"`, `"exp":${exp},"nbf":null`,
    `"exp":${exp},"nbf":[0]`, `"exp":${exp},"nbf":false`
  ].map(rest => [rest, payload(rest)])))
  await expectTaken(t, Object.fromEntries([
    `"exp":${exp},"nbf":-5`, `"exp":${exp},"nbf":0`, `"exp":${exp},"iat":${exp + 1000}`, `"exp":${exp},"iat":"lately"`,
    '"exp":1e300'
  ].map(rest => [rest, payload(rest)])))
})

t.test('a token of any size gets its response quickly', async t => {
  await expectTaken(t, { '12,000 characters': hs256({ claims: { more: 'x'.repeat(8500) } }) })
  t.equal(await statusOf(`Bearer ${hs256({ claims: { more: 'x'.repeat(30_000) } })}`), 431)
  await expectRejected(t, {
    'dots alone': '.'.repeat(12_000),
    'deep JSON': hs256({ claims: `${'['.repeat(4000)}${']'.repeat(4000)}` }),
    'a deep header': hs256({ header: `{"alg":"HS256","a":${'['.repeat(4000)}`.padEnd(8000, ']') })
  })
})

t.test('a token is accepted in the Authorization header only', async t => {
  const token = hs256()
  for (const authorization of [
    `Bearer  ${token}`, `Bearer\t${token}`, `Bearer=${token}`, `Bearer "${token}"`, `Bearer ${token},`,
    `Bearer ${token}, Bearer ${token}`, `JWT ${token}`, `Bearer:${token}`
  ]) {
    t.equal(await statusOf(authorization), 401, JSON.stringify(authorization.slice(0, 20)))
  }
  for (const path of [`/api/v1/jobs/no-such-job?access_token=${token}`, `/api/v1/jobs/no-such-job?token=${token}`]) {
    t.equal(
      (await fetch(service.url + path, { headers: { cookie: `token=${token}; access_token=${token}` } })).status, 401
    )
  }
})

t.test('no part of a token and no error is in the log after all of this', async t => {
  t.same(service.logs.filter(line => line.level >= 50), [])
  t.notMatch(JSON.stringify(service.logs), /eyJ|a-secret-that/)
})
