import t, { type Test } from 'tap'
import type { Json } from '../helpers/client.ts'
import { openEvents } from '../helpers/events.ts'
import { startService } from '../helpers/service.ts'
import { token, type TokenClaims } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { openRemoteWorker } from '../http/remote-worker.ts'
import { freezeQueue, insertRows } from '../http/rows.ts'
import { sendAlone } from '../helpers/raw-http.ts'

/*
 * Every route of the OpenAPI document, asked about another tenant's job in every state, in every way that a request can
 * be conditional or wrong: the bytes of the answer are those for an id that never was.
 */

// Nothing changes by itself, however slow the machine is.
const service = await startService(t, {
  WORKERS: '0', PRUNE_INTERVAL_SECONDS: '86400', LEASE_SECONDS: '3600', CANCEL_GRACE_SECONDS: '3600'
})
const { ask, submit } = service
const port = Number(new URL(service.url).port)

const allScopes = 'jobs:read jobs:write jobs:work'
const owner = { sub: 'ann', tenant: 'acme', scope: allScopes, expiresIn: 3_600_000 }
const stranger = { sub: 'bob', tenant: 'globex', scope: allScopes, expiresIn: 3_600_000 }

const document: Json = await (await fetch(`${service.url}/openapi.json`)).json()

type Operation = { path: string, method: string, scope: string, takesBody: boolean }

const scopeOf = (path: string, method: string) => {
  if (path.startsWith('/api/v1/worker/')) return 'jobs:work'
  if (path === '/api/v1/service') return 'jobs:admin'
  return method === 'GET' && !path.endsWith('/callbacks') ? 'jobs:read' : 'jobs:write'
}

const operations: Operation[] =
  Object.entries<Json>(document.paths).filter(([path]) => path.startsWith('/api/')).flatMap(([path, item]) =>
    Object.keys(item).map(name => name.toUpperCase()).map(method => ({
      path, method, scope: scopeOf(path, method), takesBody: method !== 'GET'
    })))
const ofJobs = operations.filter(({ path }) => path.includes('{'))

type Asked = { method: string, target: string, headers?: Record<string, string>, body?: string }

/** The bytes of an answer, but for its date, and its place in the log of all changes. */
const bytesOf = async ({ method, target, headers = {}, body = '' }: Asked, bearer: string | null): Promise<string> => {
  const lines = Object.entries({
    host: 'x', connection: 'close', ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }), ...headers
  }).map(([name, value]) => `${name}: ${value}`)
  if (method !== 'GET' && method !== 'HEAD') lines.push(`content-length: ${body.length}`)
  const { bytes } = await sendAlone(port, [`${method} ${target} HTTP/1.1`, ...lines, '', body].join('\r\n'))
  return bytes.toString('latin1').replace(/\r\n(Date|changes-cursor): [^\r]*/g, '')
}

const statusOf = (bytes: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(bytes)?.[1])

const json = { 'content-type': 'application/json' }
const bodies: Array<Pick<Asked, 'headers' | 'body'>> = [
  {}, { headers: json, body: '{}' }, { headers: json, body: '{"percent":50}' }, { headers: json, body: '{"result":1}' },
  { headers: json, body: '{"resultUrl":"https://example.org/"}' },
  { headers: json, body: '{"error":{"code":"E","message":"e"}}' }, { headers: json, body: '{"more":1}' },
  { headers: json, body: '{' }, { headers: { 'content-type': 'text/plain' }, body: 'bytes' }
]

/** Every way to ask one route about one job, with what only its owner can know. */
const waysToAsk = ({ path, method, takesBody }: Operation, jobId: string, known: Known): Asked[] => {
  const { eTag, leaseToken, callbackId = 'cb_none' } = known
  const target = path.replace('{callbackId}', callbackId).replace(/\{\w+\}/, jobId)
  const leases = path.startsWith('/api/v1/worker/')
    ? [
        {}, { 'lease-token': leaseToken }, { 'lease-token': 'guessed' }
      ]
    : [{}]
  if (!takesBody) {
    const conditions = [
      {}, { 'if-none-match': eTag }, { 'if-none-match': '*' }, { 'if-none-match': `W/${eTag}, "x"` },
      { range: 'bytes=0-1' }, { range: 'bytes=99999-' },
      { range: 'bytes=0-1', 'if-range': eTag }, { accept: 'application/problem+json' }, { accept: 'text/html' }
    ]
    const queries = path.endsWith('/result')
      ? [
          '', '?partial=true', '?partial=true&offset=1', '?partial=true&offset=999999', '?offset=x', '?ids=a', '?wait=50',
          '?partial=true&wait=50'
        ]
      : ['', '?partial=true', '?wait=50', '?fresh=true&wait=50']
    return ['GET', 'HEAD'].flatMap(method => queries.flatMap(query => conditions.flatMap(
      headers => leases.map(lease => ({ method, target: target + query, headers: { ...headers, ...lease } }))
    )))
  }
  const queries = method === 'PUT' ? ['', '?offset=0', '?offset=3', '?offset=-1'] : ['', '?wait=50']
  return queries.flatMap(query => bodies.flatMap(({
    headers = {}, body = ''
  }) => leases.map(lease => ({ method, target: target + query, headers: { ...headers, ...lease }, body }))))
}

type Known = { eTag: string, leaseToken: string, callbackId?: string }

const worker = openRemoteWorker(t, service)
let types = 0

const queued = async (type = `of-acme-${++types}`) => {
  const body = { type, input: { secret: 1 }, callbackUrl: 'https://hook.invalid/secret' }
  const { jobId } = await service.askJson('/api/v1/jobs', { method: 'POST', claims: owner, body })
  return { type, jobId: jobId as string }
}
const callbackOf = async (jobId: string): Promise<string> =>
  await service.sql(`SELECT id FROM JobCallback WHERE jobId = '${jobId}'`) || 'cb_none'
const running = async () => {
  const { type, jobId } = await queued()
  const { leaseToken } = await worker.claim(type)
  return { jobId, leaseToken }
}

/** Jobs of acme in every state that there is; each with its lease, where it had one. */
const states: Record<string, () => Promise<{ jobId: string, leaseToken?: string }>> = {
  queued,
  running,
  'running, with bytes': async () => {
    const lease = await running()
    await worker.append(lease, 0, 'secret bytes')
    return lease
  },
  'asked to stop': async () => {
    const lease = await running()
    await ask(`/api/v1/jobs/${lease.jobId}/cancel`, { method: 'POST', claims: owner })
    return lease
  },
  'succeeded with a result': async () => {
    const lease = await running()
    await worker.completeWith(lease, Buffer.from('the secret result'))
    return lease
  },
  'succeeded with a result elsewhere': async () => {
    const jobId = `elsewhere-${++types}`
    await insertRows(service, { jobId, status: 'Succeeded', tenant: 'acme', resultUrl: 'https://example.org/secret' })
    return { jobId }
  },
  failed: async () => {
    const lease = await running()
    await worker.fail(lease)
    return lease
  },
  cancelled: async () => {
    const { jobId } = await queued()
    await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST', claims: owner })
    return { jobId }
  },
  erased: async () => {
    const { jobId } = await queued()
    await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST', claims: owner })
    await ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE', claims: owner })
    return { jobId }
  }
}

const contents = () => service.sql(`SELECT * FROM JobExecutionLog WHERE tenant = 'acme' ORDER BY jobId;
  SELECT * FROM JobQueue ORDER BY jobId; SELECT * FROM JobAttempt ORDER BY jobId, run;
  SELECT id, url, redeliveredAt FROM JobCallback ORDER BY id`)

/** As long as the other, and of no job. */
const unknownLike = (jobId: string) => jobId.replace(/^.{8}/, 'ffffffff')

// An id that names no job has the same answer in all states of another one: it is asked for once.
const answersOfNone = new Map<string, string>()

const expectAlike = async (
  t: Test, jobId: string, known: Known, bearer: string | null, asked: Operation[], statuses: readonly number[]
) => {
  const none = unknownLike(jobId)
  const answerOfNone = async (way: Asked, index: number) => {
    const key = [bearer, jobId.length, way.method, way.target.replace(jobId, ''), index].join(' ')
    const answer = answersOfNone.get(key) ??
      (await bytesOf({ ...way, target: way.target.replace(jobId, none) }, bearer)).replaceAll(none, 'ID')
    answersOfNone.set(key, answer)
    return answer
  }
  let count = 0
  for (const operation of asked) {
    for (const [index, way] of waysToAsk(operation, jobId, known).entries()) {
      const [ofJob, ofNone] = [(await bytesOf(way, bearer)).replaceAll(jobId, 'ID'), await answerOfNone(way, index)]
      if (ofJob !== ofNone || !statuses.includes(statusOf(ofJob))) {
        t.same(ofJob, ofNone, `${way.method} ${way.target} ${JSON.stringify(way.headers)} ${way.body ?? ''}`)
      }
      count++
    }
  }
  t.ok(count > 20, `${count} pairs of requests`)
}

const ofStranger = token(stranger)

for (const [state, make] of Object.entries(states)) {
  t.test(`on every route a job of another tenant that is ${state} looks like one that never existed, and stays as it is`, async t => {
    const { jobId, leaseToken = 'none' } = await make()
    const expected = state === 'erased' ? 410 : 200
    const eTag = await until(async () => {
      const answer = await ask(`/api/v1/jobs/${jobId}`, { claims: owner })
      return answer.status === expected && (answer.headers.get('etag') ?? '"none"')
    }, 'the owner to see it')
    await freezeQueue(service)
    const before = await contents()
    // 400 for a request that is invalid for any principal.
    const callbackId = await callbackOf(jobId)
    await expectAlike(t, jobId, { eTag, leaseToken, callbackId }, ofStranger, ofJobs, [404, 400, 415])
    t.equal(await contents(), before, 'not a column has changed')
    const asOwner = await bytesOf({ method: 'GET', target: `/api/v1/jobs/${jobId}` }, token(owner))
    t.equal(statusOf(asOwner), expected, 'there was something to hide')
  })
}

t.test('without a token or the scope of a route, an existing job looks like an unknown one', async t => {
  const { jobId, leaseToken } = await running()
  const eTag = (await ask(`/api/v1/jobs/${jobId}`, { claims: owner })).headers.get('etag') ?? ''
  await freezeQueue(service)
  const before = await contents()
  await expectAlike(t, jobId, { eTag, leaseToken }, null, ofJobs, [401])
  await expectAlike(t, jobId, { eTag, leaseToken }, 'garbage', ofJobs, [401])
  for (const scope of ['jobs:read', 'jobs:write', 'jobs:work']) {
    const others = `${allScopes} jobs:admin`.replace(scope, '')
    await expectAlike(t, jobId, { eTag, leaseToken }, token({
      ...owner, scope: others
    }), ofJobs.filter(operation => operation.scope === scope), [403])
  }
  t.equal(await contents(), before)
})

t.test('every route needs a token, and one scope', async t => {
  t.ok(operations.length >= 17)
  for (const { path, method, scope } of operations) {
    const asked = { method, target: path.replace(/\{\w+\}/, 'no-such-job'), headers: json, body: '{}' }
    const status = async (claims: TokenClaims | null) => statusOf(
      await bytesOf(asked, claims === null ? null : token(claims))
    )
    t.equal(await status(null), 401, `${method} ${path} without a token`)
    t.equal(await status({ scope: '' }), 403, `${method} ${path} without a scope`)
    t.equal(await status({
      scope: `${allScopes} jobs:admin`.replace(scope, '')
    }), 403, `${method} ${path} with all but ${scope}`)
    t.notOk([401, 403].includes(await status({ scope })), `${method} ${path} with ${scope}`)
  }
})

t.test('lists, bulk reads and claims contain jobs of the own tenant only', async t => {
  const { type, jobId } = await queued()
  const as = (claims: TokenClaims, target: string, more: Partial<Asked> = {}) => bytesOf(
    { method: 'GET', target, ...more }, token(claims)
  )
  const unknown = unknownLike(jobId)
  const { nextCursor } = await service.askJson('/api/v1/jobs?limit=1', { claims: owner })
  t.ok(nextCursor, 'the place in the list that a page of another tenant ends at')
  for (const [path, status] of [['/api/v1/jobs', 'Queued'], ['/api/jobs', 'queued']] as const) {
    const queries = [
      '', `?type=${type}`, `?status=${status}`, '?limit=200', `?type=${type}&status=${status}`, `?idPrefix=${jobId}`,
      `?cursor=${nextCursor}`, '?createdBefore=2100-01-01'
    ]
    for (const query of queries) t.notMatch(await as(stranger, `${path}${query}`), jobId, query)
    for (const [theirs, unused] of [
      [`type=${type}`, 'type=no-such-type'], [`idPrefix=${jobId}`, 'idPrefix=x-']
    ] as const) {
      t.equal(await as(stranger, `${path}?${theirs}`), await as(stranger, `${path}?${unused}`), theirs)
    }
    t.match(await as(owner, `${path}?type=${type}`), jobId)
    // The tag is of the ids that were asked for, too.
    const withoutTag = (bytes: string) => bytes.replace(/\r\netag: [^\r]*/, '')
    for (const ids of [jobId, `${jobId},x`, `x,${jobId},${jobId}`, `${jobId}&wait=50`]) {
      t.equal(withoutTag(await as(stranger, `${path}?ids=${ids}`)).replaceAll(jobId, unknown),
        withoutTag(await as(stranger, `${path}?ids=${ids.replaceAll(jobId, unknown)}`)), ids)
    }
    const later = `later-${path.length}`
    const before = await as(stranger, `${path}?ids=${later}`)
    await insertRows(service, { jobId: later, status: 'Running', tenant: 'acme' })
    await until(async () => statusOf(await as(owner, `/api/v1/jobs/${later}`)) === 200)
    t.equal(await as(stranger, `${path}?ids=${later}`), before, 'the tag does not show that the job came into being')
  }
  const claim = { method: 'POST', headers: json, body: JSON.stringify({ types: [type] }) }
  t.equal(statusOf(await as(stranger, '/api/v1/worker/claim', claim)), 204)
  t.equal(await as(stranger, '/api/v1/worker/claim', claim), await as(stranger, '/api/v1/worker/claim', {
    ...claim, body: '{"types":["no-such-type"]}'
  }))
  t.equal(statusOf(await as(owner, '/api/v1/worker/claim', claim)), 200)
})

// Cursors count the changes of all tenants, and so differ; how long one is shows in the length of a page.
const withoutPlace = (text: string) => text
  .replaceAll(/[0-9a-z]{16}-\d+/g, 'CURSOR')
  .replaceAll(/"version":\d+/g, '"version":N')
  .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
  .replace(/\r\ncontent-length: \d+/, '')

/** Inserts a row of globex, and returns what a stream of it has sent by then: its headers, and its events but for pings. */
const openStream = async (path: string, headers: Record<string, string> = {}) => {
  const { answer, readBlock, close } = await openEvents(
    service, path, { claims: stranger, headers: { accept: 'text/event-stream', ...headers } })
  return async (marker: string): Promise<string> => {
    const blocks = [...answer.headers].filter(([name]) => name !== 'date').map(field => field.join(': '))
    for (let block: string | undefined = ''; block !== undefined && !block.includes(marker);) {
      block = await readBlock()
      if (block?.startsWith(': ping') === false) blocks.push(block)
    }
    await close()
    return withoutPlace(blocks.join('\n\n')).replaceAll(marker, 'MARKER')
  }
}

t.test('the change feed has nothing of the jobs of another tenant, in either form', async t => {
  const cursorOf = async (claims = stranger): Promise<string> => (await service.askJson('/api/v1/events', { claims })).cursor
  const type = 'of-acme'
  const mark = async (marker: string) => {
    await insertRows(service, { jobId: marker, status: 'Running', tenant: 'globex', type })
    return marker
  }
  const paths = ['/api/v1/events', '/api/events'] as const
  const pagesSince = async (cursor: string): Promise<string[]> => {
    const ways = paths.flatMap(path => ['', '&limit=1', `&type=${type}`, '&wait=0.1', '&limit=0'].flatMap(query =>
      [{}, { accept: 'application/problem+json' }, { 'if-none-match': '*' }, { 'last-event-id': cursor }].flatMap(
        headers => ['GET', 'HEAD'].map(method => ({ method, target: `${path}?since=${cursor}${query}`, headers })))))
    const pages: string[] = []
    for (const way of ways) {
      pages.push(`${way.method} ${way.target} ${JSON.stringify(way.headers)} ${await bytesOf(way, token(stranger))}`)
    }
    return pages.map(withoutPlace)
  }
  const streamsSince = (cursor: string) => Promise.all(paths.flatMap(path => [
    openStream(`${path}?since=${cursor}`), openStream(path, { 'last-event-id': cursor }), openStream(`${path}?since=${cursor}&type=${type}`)
  ]))

  const quiet = await cursorOf()
  const pagesOfNone = await pagesSince(quiet)
  const streamsOfNone = await streamsSince(quiet)
  const firstMarker = await mark('marker-1')
  const eventsOfNone = await Promise.all(streamsOfNone.map(read => read(firstMarker)))

  const before = await cursorOf()
  const live = await streamsSince(before)
  await queued(type)
  for (const make of Object.values(states)) await make()
  t.same(await pagesSince(before), pagesOfNone)
  const resumed = await streamsSince(before)
  const marker = await mark('marker-2')
  for (const streams of [live, resumed]) t.same(await Promise.all(streams.map(read => read(marker))), eventsOfNone)
  t.match(eventsOfNone[0], /event: status\nid: CURSOR\ndata: .*MARKER/)

  const { items } = await service.askJson(`/api/v1/events?since=${before}&limit=1000`, { claims: owner })
  t.ok(items.length > Object.keys(states).length, 'there was something to hide')
})

t.test('a lease token of an own job opens no job of another tenant', async t => {
  const { jobId } = await running()
  const { jobId: own, type } = { type: 'of-globex', jobId: await submit('of-globex', 1, { claims: stranger }) }
  const { leaseToken } = await worker.claim(type)
  await freezeQueue(service)
  const before = await contents()
  const workers = ofJobs.filter(({ scope }) => scope === 'jobs:work')
  await expectAlike(t, jobId, { eTag: '"x"', leaseToken }, token(stranger), workers, [404, 400, 415])
  t.equal(await contents(), before)
  t.equal(statusOf(await bytesOf({
    method: 'POST',
    target: `/api/v1/worker/jobs/${own}/progress`,
    headers: {
      ...json, 'lease-token': leaseToken
    },
    body: '{}'
  }, token(stranger))), 200, 'it opens its own')
})

t.test('no error is in the log after all of this', async t => {
  t.same(service.logs.filter(line => line.level >= 50), [])
})
