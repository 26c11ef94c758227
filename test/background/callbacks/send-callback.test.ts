import { createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import { resolveHost, type ResolveHost } from '../../../src/background/callbacks/resolve.ts'
import { createSendCallback, type SendCallbackNeeds, tryMsMax } from '../../../src/background/callbacks/send-callback.ts'
import { parseAllowedHost } from '../../../src/job/callbacks/allowed-hosts.ts'
import { makeCertificate, startReceiver } from '../../helpers/receiver.ts'
import { webhookSecret } from '../../helpers/tokens.ts'
import { until } from '../../helpers/until.ts'

const otherSecret = `whsec_${Buffer.alloc(24, 3).toString('base64')}`
const never = new AbortController().signal
const certificate = makeCertificate(t.testdir())

/** Resolves each name to what the test says, and counts the questions. */
const createResolver = (...answers: string[][]) => {
  let count = 0
  const resolve: ResolveHost = () => Promise.resolve(answers[Math.min(count++, answers.length - 1)] ?? [])
  return { resolve, count: () => count }
}

const createSend = (more: Partial<SendCallbackNeeds> & { allow?: string[] } = {}) => {
  const { allow = ['127.0.0.1'], ...needs } = more
  const timers: Array<{ work: () => void, ms: number }> = []
  const send = createSendCallback({
    allowed: allow.map(parseAllowedHost).filter(host => host !== undefined),
    resolve: createResolver(['127.0.0.1']).resolve,
    now: () => Date.now(),
    schedule: (work, ms) => {
      timers.push({ work, ms })
      return { cancel: () => {} }
    },
    ca: certificate.cert,
    ...needs
  })
  return {
    /** The time of a try is over. */
    runOut: () => {
      for (const { work } of timers) work()
    },
    timers,
    send: (url: string, { body = '{"type":"job.succeeded","n":1.50}', secrets = [webhookSecret], signal = never } = {}) =>
      send({ id: 'cb_1', url, body, secrets }, signal)
  }
}

const failed = (error: string | RegExp, status: number | null = null) => ({ kind: 'failed', error, status, isFinal: false })

t.test('posts the body as it is, signed with each key', async t => {
  const { url, arrived } = await startReceiver(t, response => { response.writeHead(204).end() })
  const { send } = createSend()
  const path = '/a/../b%zz?q=1&q=2'
  t.same(await send(url + path, { secrets: [webhookSecret, otherSecret] }), { kind: 'delivered', status: 204 })
  const [request] = await arrived(1)
  t.match(request, { method: 'POST', url: path, body: '{"type":"job.succeeded","n":1.50}' })
  t.match(request?.headers, { 'content-type': 'application/json', 'webhook-id': 'cb_1', host: url.slice(7), connection: 'close' })
  for (const secret of [webhookSecret, otherSecret]) {
    t.match(new Webhook(secret).verify(request?.body ?? '', request?.headers as Record<string, string>), { n: 1.5 })
  }
  const stranger = new Webhook(`whsec_${Buffer.alloc(32, 1).toString('base64')}`)
  t.throws(() => stranger.verify(request?.body ?? '', request?.headers as Record<string, string>))
})

t.test('over TLS the name is checked, whatever its address is', async t => {
  const { port, arrived } = await startReceiver(t, undefined, certificate)
  const { send } = createSend({ allow: ['127.0.0.1', 'other.example'] })
  t.same(await send(`https://hook.example:${port}/x`), { kind: 'delivered', status: 200 })
  t.match((await arrived(1))[0]?.headers, { host: `hook.example:${port}` })
  t.match(await send(`https://other.example:${port}/x`), failed(/^the connection failed: ERR_TLS_CERT_ALTNAME_INVALID$/))
  const untrusting = createSendCallback({
    allowed: [], resolve: createResolver(['127.0.0.1']).resolve, now: () => 0, schedule: () => ({ cancel: () => {} })
  })
  t.match(await untrusting({ id: 'c', url: `https://hook.example:${port}/`, body: '', secrets: [] }, never), { kind: 'failed' })
})

t.test('connects to the address that was checked, not to what the name resolves to by then', async t => {
  const { port, connections } = await startReceiver(t)
  const rebinding = createResolver(['192.0.32.8'], ['127.0.0.1'])
  const { send, runOut, timers } = createSend({ allow: [], resolve: rebinding.resolve })
  // 192.0.32.8 is public, and no machine of this test can be reached there.
  const outcome = send(`https://rebind.example:${port}/`)
  await until(() => timers.length === 1, 'the beginning of the try')
  setImmediate(runOut)
  t.match(await outcome, { kind: 'failed', status: null })
  t.equal(rebinding.count(), 1, 'it was resolved once')
  t.equal(connections(), 0)
  t.match(await send(`https://rebind.example:${port}/`), failed('the host has an address that is not public (loopback)'))
  t.equal(connections(), 0)
})

t.test('a name with any address that is not public is not called, and the address is not revealed', async t => {
  const cases: Array<[addresses: string[], range: string]> = [
    [['192.0.32.8', '10.1.2.3'], 'private'], [['::ffff:8.8.8.8'], 'ipv4Mapped'], [['fe80::1'], 'linkLocal'],
    [['64:ff9b::808:808'], 'rfc6052'], [['2002:a01:203::1'], '6to4'], [['100.64.1.1'], 'carrierGradeNat'], [['0.0.0.0'], 'unspecified']
  ]
  for (const [addresses, range] of cases) {
    const { send } = createSend({ allow: [], resolve: createResolver(addresses).resolve })
    t.match(await send('https://inside.example/'), failed(`the host has an address that is not public (${range})`))
  }
  const { send } = createSend({ allow: [], resolve: createResolver([]).resolve })
  t.match(await send('https://empty.example/'), failed('the host has no address'))
})

t.test('a name that the operator allows is called at any address, and an address without a question', async t => {
  const { port } = await startReceiver(t)
  const named = createSend({ allow: [`inside.example:${port}`] })
  t.match(await named.send(`http://inside.example:${port}/`), { kind: 'delivered' })
  t.match(await named.send('http://inside.example/'), failed(/^the URL must begin with https:/))
  t.match(await named.send(`http://127.0.0.1:${port}/`), failed(/^the URL must begin with https:/), 'the list has changed')
  const resolver = createResolver([])
  t.match(await createSend({ resolve: resolver.resolve }).send(`http://127.0.0.1:${port}/`), { kind: 'delivered' })
  t.equal(resolver.count(), 0)
})

t.test('only 2xx is success', async t => {
  const { url, connections } = await startReceiver(t, (response, { url: path }) => {
    const [, status = '', header = ''] = path.split('/')
    response.writeHead(Number(status), { location: '/200', ...(header === '' ? {} : { 'retry-after': decodeURIComponent(header) }) }).end('no')
  })
  const at = Date.UTC(2026, 2, 1)
  const { send } = createSend({ now: () => at })
  for (const status of [200, 201, 202, 204, 299]) t.same(await send(`${url}/${status}`), { kind: 'delivered', status })
  for (const status of [400, 404, 409, 500, 503]) t.match(await send(`${url}/${status}`), failed(`answered ${status}`, status))
  const before = connections()
  for (const status of [301, 302, 303, 307, 308]) {
    t.match(await send(`${url}/${status}`), failed(`answered ${status}: redirects are not followed`, status))
  }
  t.equal(connections(), before + 5)
  t.match(await send(`${url}/410`), { kind: 'failed', status: 410, isFinal: true })
  const pauses: Array<[header: string, ms: number]> = [
    ['20', 20_000], ['Sun, 01 Mar 2026 00:02:00 GMT', 120_000], ['Sun, 01 Mar 2020 00:00:00 GMT', 0], ['soon', 0], ['-5', 0], ['', 0]
  ]
  for (const [header, retryAfterMs] of pauses) {
    t.match(await send(`${url}/503/${encodeURIComponent(header)}`), { kind: 'failed', retryAfterMs }, header)
  }
})

t.test('a receiver that sends without end is cut off, and its status counts', async t => {
  const { url } = await startReceiver(t, response => {
    const more = () => { while (!response.destroyed && response.write('x'.repeat(16_384))) { /* until it is full */ } }
    response.on('drain', more)
    more()
  })
  t.same(await createSend().send(url), { kind: 'delivered', status: 200 })
})

/** A server that accepts connections and never answers. */
const startSilent = async (t: Test) => {
  const sockets: Array<{ destroy: () => void }> = []
  const server = createServer(socket => {
    socket.on('error', () => {})
    sockets.push(socket)
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets }
}

t.test('a try ends after 15 s, wherever it hangs', async t => {
  const silent = await startSilent(t)
  const { send, runOut, timers } = createSend()
  const hanging = send(silent.url)
  await until(() => silent.sockets.length === 1, 'the connection')
  t.equal(timers[0]?.ms, 15_000)
  t.equal(tryMsMax, 15_000)
  runOut()
  t.match(await hanging, failed('no response within 15 s'))

  const halfway = await startReceiver(t, response => {
    response.writeHead(200)
    response.write('{')
  })
  const body = createSend()
  const sending = body.send(halfway.url)
  await halfway.arrived(1)
  // The headers may be on their way: the try ends either way, and does not hang.
  setImmediate(body.runOut)
  t.match(await sending, { kind: /delivered|failed/ })

  const resolving = createSend({ allow: [], resolve: () => new Promise(() => {}) })
  const name = resolving.send('https://hangs.example/')
  await until(() => resolving.timers.length === 1, 'the beginning of the try')
  resolving.runOut()
  t.match(await name, failed('no response within 15 s'))
})

t.test('a drain ends a try', async t => {
  const silent = await startSilent(t)
  const drain = new AbortController()
  const hanging = createSend().send(silent.url, { signal: drain.signal })
  await until(() => silent.sockets.length === 1, 'the connection')
  drain.abort()
  t.match(await hanging, { kind: 'failed', status: null })
})

t.test('what goes wrong before a response is said in words', async t => {
  const { url, close } = await startReceiver(t)
  close()
  t.match(await createSend().send(url), failed('the connection failed: ECONNREFUSED'))
  const dropping = createServer(socket => { socket.destroy() }).listen(0, '127.0.0.1')
  t.teardown(() => { dropping.close() })
  await once(dropping, 'listening')
  const { port } = dropping.address() as AddressInfo
  t.match(await createSend().send(`http://127.0.0.1:${port}/`), failed('the connection failed: ECONNRESET'))
  const unknown = createSend({ allow: [], resolve: () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' })) })
  t.match(await unknown.send('https://unknown.example/'), failed('the host was not found: ENOTFOUND'))
})

t.test('names that the operator allows are those of the system, others those of the DNS', async t => {
  t.ok((await resolveHost('localhost', true, never)).some(address => ['127.0.0.1', '::1'].includes(address)))
  const stopped = new AbortController()
  const asking = resolveHost('hook.invalid', false, stopped.signal)
  stopped.abort()
  await t.rejects(asking, { code: /ECANCELLED|ECONNREFUSED|ENOTFOUND|ETIMEOUT|ESERVFAIL/ })
})
