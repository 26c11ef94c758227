import { generateKeyPairSync } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Service, startService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'
import { serveKeys, toJwk } from './served-keys.ts'
import { signed } from './signing.ts'

/*
 * Key sets that change, fail, or answer nonsense, and what is remembered of the tokens that they verified.
 */

const key = (kid: string) => ({ kid, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) })
const start = (t: Test, JWKS_URL: string) => startService(t, { WORKERS: '0', JWT_SECRET: '', JWKS_URL })
const ask = ({ url }: Service, token: string) => fetch(`${url}/api/v1/jobs/no-such-job`, {
  headers: { authorization: `Bearer ${token}` }
})
const statusOf = async (service: Service, token: string): Promise<number> => (await ask(service, token)).status
const tokenOf = ({ kid, privateKey }: ReturnType<typeof key>, claims = {}) => signed({
  alg: 'ES256', key: privateKey, header: { kid }, claims
})

const realNow = Date.now
/** Sets the clock of this process, and of what it tests, forward. */
const forward = (t: Test, ms: number) => {
  Date.now = () => realNow() + ms
  t.teardown(() => { Date.now = realNow })
}

/** Stops that clock. Returns what moves it on. */
const stopClock = (t: Test) => {
  let at = realNow()
  Date.now = () => at
  t.teardown(() => { Date.now = realNow })
  return (ms: number) => { at += ms }
}

t.test('any bad response of the key server is 503 with Retry-After, never 500, and lets no token in', async t => {
  const one = key('one')
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'))
  const service = await start(t, server.url)
  const attackers = await serveKeys(t, toJwk(one.publicKey, 'one'))
  const answers: Record<string, Parameters<typeof server.answerWith>[0]> = {
    'a failure': response => { response.writeHead(500).end('{"keys":[]}') },
    nothing: response => { response.end() },
    'no JSON': response => { response.end('<html>') },
    'JSON that is no set': response => { response.end('{"keys":7}') },
    'a list': response => { response.end('[]') },
    null: response => { response.end('null') },
    'a set of what are no keys': response => { response.end('{"keys":[7,null,"x"]}') },
    'a redirect': response => { response.writeHead(302, { location: attackers.url }).end() },
    'a broken connection': response => { response.destroy() },
    'a body that breaks off': response => {
      response.writeHead(200, { 'content-length': '100' }).write('{"keys"')
      setImmediate(() => { response.destroy() })
    },
    'a damaged key': response => {
      response.end(JSON.stringify({ keys: [{ kty: 'EC', crv: 'P-256', kid: 'one', x: 'AA', y: 'AA' }] }))
    }
  }
  let minutes = 0
  for (const [what, answer] of Object.entries(answers)) {
    // As if the set before were too old to be used.
    forward(t, ++minutes * 11 * 60_000)
    server.answerWith(answer)
    const reply = await ask(service, tokenOf(one, { exp: 9_999_999_999 }))
    t.equal(reply.status, 503, what)
    t.match(reply.headers.get('retry-after'), /^[1-5]$/, what)
    t.match(await reply.json(), { code: 'STORE_UNAVAILABLE' })
  }
  t.equal(attackers.fetches(), 0, 'a redirect is not followed')
  server.answerKeys()
  forward(t, ++minutes * 11 * 60_000)
  t.equal(await statusOf(service, tokenOf(one, { exp: 9_999_999_999 })), 404, 'it works again')
  t.same(service.logs.filter(({ msg }) => msg === 'the request failed'), [])
})

t.test('a silent key server is given up, and other requests do not wait for it', async t => {
  const one = key('one')
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'))
  server.answerWith(() => {})
  const service = await start(t, server.url)
  const waiting = [1, 2, 3].map(() => ask(service, tokenOf(one)))
  await until(() => server.fetches() === 1, 'the question')
  t.equal((await fetch(`${service.url}/livez`)).status, 200)
  t.equal(await statusOf(service, 'garbage'), 401)
  t.same((await Promise.all(waiting)).map(answer => answer.status), [503, 503, 503])
  t.equal(server.fetches(), 1, 'one question for all')
})

t.test('while the key server is unreachable, known keys stay valid for their time', async t => {
  const one = key('one')
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'))
  const service = await start(t, server.url)
  const [first, second] = [tokenOf(one), tokenOf(one, { tenant: 'other' })]
  t.equal(await statusOf(service, first), 404)
  server.answerWith(response => { response.destroy() })
  t.equal(await statusOf(service, first), 404, 'remembered')
  t.equal(await statusOf(service, second), 404, 'never seen, by a key that is known')
  forward(t, 5 * 60_000)
  t.equal(await statusOf(service, tokenOf(one, { exp: 9_999_999_999 })), 404, 'minutes later')
  t.equal(server.fetches(), 1)
})

t.test('a cached verification ends with its key, at the latest after half a minute', async t => {
  const [one, two] = [key('one'), key('two')]
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'))
  const service = await start(t, server.url)
  const [old, fresh] = [tokenOf(one, { exp: 9_999_999_999 }), tokenOf(two, { exp: 9_999_999_999 })]
  t.equal(await statusOf(service, old), 404)
  server.keys.splice(0, 1, toJwk(two.publicKey, 'two'))
  forward(t, 29_000)
  t.equal(await statusOf(service, old), 404, 'within the time')
  forward(t, 31_000)
  t.equal(await statusOf(service, fresh), 404, 'the new key is fetched')
  t.equal(await statusOf(service, old), 401, 'and with that the old one is gone')
})

t.test('a changed set ends every cached verification at once', async t => {
  const [one, two, three] = [key('one'), key('two'), key('three')]
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'), toJwk(two.publicKey, 'two'))
  const service = await start(t, server.url)
  const exp = 9_999_999_999
  t.equal(await statusOf(service, tokenOf(two, { exp })), 404)
  forward(t, 25_000)
  const late = tokenOf(one, { exp })
  t.equal(await statusOf(service, late), 404)
  server.keys.splice(0, 1, toJwk(three.publicKey, 'three'))
  forward(t, 31_000)
  t.equal(await statusOf(service, late), 404, 'remembered six seconds ago')
  t.equal(await statusOf(service, tokenOf(three, { exp })), 404)
  t.equal(await statusOf(service, late), 401)
  t.equal(await statusOf(service, tokenOf(two, { exp })), 404, 'a key that stayed is as good as before')
})

t.test('a key that takes the kid of another does not verify its tokens', async t => {
  const [one, other] = [key('same'), key('same')]
  const server = await serveKeys(t, toJwk(one.publicKey, 'same'))
  const service = await start(t, server.url)
  const old = tokenOf(one, { exp: 9_999_999_999 })
  t.equal(await statusOf(service, old), 404)
  server.keys.splice(0, 1, toJwk(other.publicKey, 'same'))
  forward(t, 601_000)
  t.equal(await statusOf(service, old), 401)
  t.equal(await statusOf(service, tokenOf(other, { exp: 9_999_999_999 })), 404)
})

t.test('a new key counts within three seconds, under a new kid or an old one', async t => {
  const pass = stopClock(t)
  const [one, two, three] = [key('one'), key('two'), key('two')]
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'))
  const service = await start(t, server.url)
  const late = { iat: 0, exp: 9_999_999_999 }
  t.equal(await statusOf(service, tokenOf(one, late)), 404)
  server.keys.push(toJwk(two.publicKey, 'two'))
  const second = tokenOf(two, late)
  for (let i = 0; i < 10; i++) t.equal(await statusOf(service, second), 401, 'the set was read just now')
  pass(3000)
  t.equal(await statusOf(service, second), 404)
  server.keys.splice(1, 1, toJwk(three.publicKey, 'two'))
  const third = tokenOf(three, late)
  for (let i = 0; i < 10; i++) t.equal(await statusOf(service, third), 401)
  t.equal(server.fetches(), 2)
  pass(3000)
  t.equal(await statusOf(service, third), 404)
  t.equal(await statusOf(service, second), 401, 'the key before is gone')
  for (let i = 0; i < 10; i++) {
    t.equal(await statusOf(service, signed({ alg: 'ES256', key: one.privateKey, header: { kid: 'two' } })), 401)
  }
  t.equal(server.fetches(), 3, 'forged signatures do not make it fetch more often')
})

const minuteMs = 60_000
const late = { iat: 0, exp: 9_999_999_999 }
/** A service whose set has this key, while the clock stands still unless it is moved. */
const startWith = async (t: Test, one: ReturnType<typeof key>) => {
  const server = await serveKeys(t, toJwk(one.publicKey, 'one'))
  const service = await start(t, server.url)
  return { server, service, pass: stopClock(t) }
}

const breakOff: Parameters<Awaited<ReturnType<typeof serveKeys>>['answerWith']>[0] = response => { response.destroy() }

t.test('after a failure the key server is not asked again for three seconds', async t => {
  const [one, unknown] = [key('one'), key('unknown')]
  const { server, service, pass } = await startWith(t, one)
  const askAll = async (what: string) => {
    for (let i = 0; i < 5; i++) {
      for (const token of [tokenOf(one, late), tokenOf(unknown, late)]) {
        const reply = await ask(service, token)
        t.equal(reply.status, 503, what)
        t.match(reply.headers.get('retry-after'), /^[1-5]$/)
      }
    }
  }
  server.answerWith(() => {})
  await askAll('a server that is silent')
  t.equal(server.fetches(), 1)
  server.answerWith(breakOff)
  pass(2999)
  await askAll('a server that has failed a moment ago')
  t.equal(server.fetches(), 1)
  pass(1)
  await askAll('a server that breaks off')
  t.equal(server.fetches(), 2)
  server.answerKeys()
  // A clock that is set back does not prolong the pause.
  pass(-60 * minuteMs)
  t.equal(await statusOf(service, tokenOf(one, late)), 404, 'it works again')
  t.equal(await statusOf(service, tokenOf(unknown, late)), 401)
  t.equal(server.fetches(), 3)
})

t.test('unknown kids do not make the service fetch more often, and known ones stay valid', async t => {
  const [one, unknown] = [key('one'), key('unknown')]
  const { server, service, pass } = await startWith(t, one)
  t.equal(await statusOf(service, tokenOf(one, late)), 404)
  t.equal(await statusOf(service, tokenOf(unknown, late)), 401, 'the set was read just now')
  pass(3000)
  server.answerWith(breakOff)
  for (let i = 0; i < 10; i++) {
    t.equal(await statusOf(service, tokenOf(unknown, late)), 503, 'it may be in the set by now')
  }
  t.equal(server.fetches(), 2)
  t.equal(await statusOf(service, tokenOf(one, late)), 404)
  pass(3000)
  server.answerKeys()
  for (let i = 0; i < 10; i++) t.equal(await statusOf(service, tokenOf(unknown, late)), 401)
  t.equal(server.fetches(), 3)
})

t.test('a set that cannot be read again is used for one more hour', async t => {
  const [one, two] = [key('one'), key('two')]
  const { server, service, pass } = await startWith(t, one)
  t.equal(await statusOf(service, tokenOf(one, late)), 404)
  const failures: Array<typeof breakOff> = [
    breakOff, () => {},
    response => { response.writeHead(503).end() },
    response => { response.end('<html>') },
    response => { response.end('{"keys":7}') }
  ]
  for (const failure of failures) {
    pass(11 * minuteMs)
    server.answerWith(failure)
    t.equal(await statusOf(service, tokenOf(one, late)), 404, 'a key of the last set')
    t.equal(await statusOf(service, tokenOf(two, late)), 503, 'a key that a newer one may have')
    t.equal(
      await statusOf(service, signed({ alg: 'HS256', key: 'x', header: { kid: 'one' } })), 401, 'no algorithm of a set'
    )
    t.equal(await statusOf(service, signed({
      alg: 'ES256', key: two.privateKey, header: { kid: 'one' }, claims: late
    })), 401, 'a forged signature')
  }
  t.equal(server.fetches(), 1 + failures.length)
  server.answerWith(breakOff)
  pass(15 * minuteMs - 1)
  const last = tokenOf(one, late)
  t.equal(await statusOf(service, last), 404, 'until the hour is over')
  pass(1)
  t.equal(await statusOf(service, last), 404, 'remembered')
  t.equal(await statusOf(service, tokenOf(one, late)), 503)
  pass(minuteMs / 2)
  t.equal(await statusOf(service, last), 503, 'no longer remembered')
  server.answerKeys()
  pass(5000)
  t.equal(await statusOf(service, tokenOf(one, late)), 404, 'it works again')
})

t.test('tokens with a known key do not wait for a server that has just failed; its response counts at once', async t => {
  const [one, two] = [key('one'), key('two')]
  const { server, service, pass } = await startWith(t, one)
  t.equal(await statusOf(service, tokenOf(one, late)), 404)
  pass(11 * minuteMs)
  server.answerWith(breakOff)
  t.equal(await statusOf(service, tokenOf(one, late)), 404)
  pass(5000)
  let answer = () => {}
  server.answerWith(
    response => { answer = () => { response.end(JSON.stringify({ keys: [toJwk(two.publicKey, 'two')] })) } }
  )
  const old = tokenOf(one, late)
  t.equal(await statusOf(service, old), 404)
  await until(() => server.fetches() === 3, 'the question')
  const waiting = ask(service, tokenOf(two, late))
  answer()
  t.equal((await waiting).status, 404)
  t.equal(await statusOf(service, old), 401, 'its key is gone, and it is forgotten')
  t.equal(server.fetches(), 3)
})
