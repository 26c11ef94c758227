import { copyFileSync, renameSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Json } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { token } from '../../helpers/tokens.ts'
import { untilWithin } from '../../helpers/until.ts'
import { insertRows, metric } from '../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { url } = service

t.test('the routes for operators need no token', async t => {
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/', '/', '/ui']) {
    for (const headers of [{}, { authorization: 'Bearer garbage' }]) {
      const answer = await fetch(url + path, { headers })
      t.equal(answer.status, 200, path)
      await answer.arrayBuffer()
    }
  }
})

t.test('/livez reports that the process is alive', async t => {
  t.same(await (await fetch(`${url}/livez`)).json(), { status: 'ok' })
})

t.test('/readyz reports store and cache, each with the time of its last change', async t => {
  const body: Json = await (await fetch(`${url}/readyz`)).json()
  const part = (kind: string) => ({ kind, status: 'ok', since: /^\d{4}-.*Z$/, reason: null })
  t.match(body, { status: 'ready', store: part('sqlite'), cache: part('memory') })
  t.same(Object.keys(body), ['status', 'store', 'cache'])
})

t.test('/metrics counts requests by route, never by path, and reads by source', async t => {
  await insertRows(service, { jobId: 'very-special-id', status: 'Succeeded' })
  for (const path of [
    '/api/v1/jobs/very-special-id', '/api/v1/jobs/very-special-id', '/api/jobs/very-special-id/status',
    '/very-special-path'
  ]) {
    await service.ask(path)
  }
  const answer = await fetch(`${url}/metrics`)
  t.match(answer.headers.get('content-type'), /^text\/plain; version=/)
  const text = await answer.text()
  t.notMatch(text, /very-special/)
  t.equal(
    await metric(service, 'http_request_duration_seconds_count{method="GET",route="/api/v1/jobs/:jobId",status="200",kind="request"}'),
    2
  )
  t.equal(await metric(service, 'http_request_duration_seconds_count{method="GET",route="none",status="404",kind="request"}'), 1)
  t.equal(await metric(service, 'job_status_reads_total{source="store"}'), 1)
  t.equal(await metric(service, 'job_status_reads_total{source="cache"}'), 2)
  t.equal(await metric(service, 'job_status_cache_on'), 1)
})

t.test('/metrics keeps claims, long polls and downloads apart from other requests', async t => {
  const claims = { scope: 'jobs:read jobs:write jobs:work' }
  const claim = (wait: number) => service.ask('/api/v1/worker/claim', {
    method: 'POST', claims, body: { types: ['held'], wait }
  })
  await claim(0)
  await claim(0.001)
  await service.ask('/api/v1/jobs/no-such-job/result')
  const count = (method: string, route: string, status: number, kind: string) => metric(
    service,
    `http_request_duration_seconds_count{method="${method}",route="/api/v1/${route}",status="${status}",kind="${kind}"}`
  )
  t.equal(await count('POST', 'worker/claim', 204, 'claim'), 1)
  t.equal(await count('POST', 'worker/claim', 204, 'long-poll'), 1)
  t.equal(await count('GET', 'jobs/:jobId/result', 404, 'download'), 1)
})

t.test('the names of the metrics keep the rules of `promtool check metrics`', async t => {
  const text = await (await fetch(`${url}/metrics`)).text()
  const own = text.split('# HELP ').slice(1).filter(family => !/^(process|nodejs)_/.test(family))
  t.ok(own.length > 15, 'the families were read')
  for (const family of own) {
    const [, name = '', help = '', type = ''] = /^(\S+) (.*)\n# TYPE \S+ (\w+)$/m.exec(family) ?? []
    t.match(name, /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/, name)
    t.not(help, '', `${name} has a help text`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`)
    t.notMatch(name, /_(count|sum|bucket|info|counter|gauge|histogram|summary)$/, `${name} has no suffix of another kind`)
    t.notMatch(name, /_(ms|milliseconds|minutes|hours|days|kb|mb|kib|mib|percent)(_|$)/, `${name} has a base unit`)
    t.notMatch(name, /(^|_)(cnt|secs?|bps|dur|kilobytes)(_|$)/, `${name} abbreviates nothing`)
    const labels = [...family.matchAll(/[{,](\w+)="/g)].map(([, label = '']) => label)
    t.same(labels.filter(label => !/^[a-z]+$/.test(label) || ['quantile', 'job', 'instance'].includes(label)), [], name)
  }
})

t.test('/metrics counts the queue by type, with a series for each known type', async t => {
  const text = await (await fetch(`${url}/metrics`)).text()
  for (const type of ['report', 'sanitize', 'other']) {
    t.match(text, new RegExp(`^job_queue_jobs\\{type="${type}",state="queued"\\} \\d+$`, 'm'))
    t.match(text, new RegExp(`^job_queue_oldest_age_seconds\\{type="${type}"\\} `, 'm'))
  }
})

t.test('/metrics counts accepted jobs without replays, and damaged records', async t => {
  const submit = () => service.ask('/api/v1/jobs', {
    method: 'POST', headers: { 'idempotency-key': 'k' }, body: { type: 'x', input: 1 }
  })
  await submit()
  await submit()
  t.equal(await metric(service, 'jobs_submitted_total'), 1)
  await service.sql(
    "PRAGMA ignore_check_constraints = ON; INSERT INTO JobExecutionLog (jobId, status) VALUES ('bad', 'Paused')"
  )
  await service.ask('/api/v1/jobs/bad')
  t.ok(await metric(service, 'job_records_invalid_total') >= 1)
})

// A proxy that keeps PUBLIC_URL's path to itself: what the browser asks for under /jobs-api is asked for without it here.
const throughProxy = async (t: Test, env: Record<string, string>) => {
  const { url } = await startService(t, { WORKERS: '0', ...env })
  const { pathname: base } = new URL(env.PUBLIC_URL ?? url)
  const prefix = base.replace(/\/$/, '')
  return async (path: string) => {
    t.ok(path.startsWith(`${prefix}/`), path)
    return await fetch(url + path.slice(prefix.length), { redirect: 'manual' })
  }
}

t.test('the documentation page loads all its files from the service, with or without the path of PUBLIC_URL', async t => {
  for (const prefix of ['', '/jobs-api']) {
    const get = await throughProxy(t, prefix === '' ? {} : { PUBLIC_URL: `https://example.org${prefix}` })
    for (const page of ['/docs', '/docs/', '/docs?_=1'].map(page => prefix + page)) {
      const html = await (await get(page)).text()
      const tags =
        [...html.matchAll(/<(?:script|link|img)\b[^>]*\b(?:src|href)="([^"]*)"/g)].map(match => match[1] ?? '')
      t.ok(tags.length >= 4, 'scripts and styles')
      for (const reference of tags) {
        const target = new URL(reference, `https://example.org${page}`)
        t.equal(target.origin, 'https://example.org', reference)
        const answer = await get(target.pathname)
        t.equal(answer.status, 200, reference)
        t.ok((await answer.arrayBuffer()).byteLength > 0)
      }
    }
    const script = await (await get(`${prefix}/docs/static/swagger-initializer.js`)).text()
    t.match(script, /"url":"\.\/json"/, 'the document is named relative to the page')
  }
})

t.test('redirects within the documentation keep the path of PUBLIC_URL', async t => {
  const redirects = { '/docs/static/index.html': '/docs/', '/docs/?_=1': '/docs/', '/docs/static/index.html?a': '/docs/' }
  for (const [path, expected] of Object.entries(redirects)) {
    const answer = await fetch(url + path, { redirect: 'manual' })
    t.equal(answer.status, 302, path)
    const target = new URL(answer.headers.get('location') ?? '', `https://example.org/jobs-api${path}`)
    t.equal(target.pathname + target.search, `/jobs-api${expected}`, path)
  }
})

t.test('the Content-Security-Policy allows no other host and does not require https', async t => {
  for (const path of ['/docs', '/docs/static/swagger-ui-bundle.js']) {
    const policy = (await fetch(url + path, { method: 'HEAD' })).headers.get('content-security-policy') ?? ''
    t.match(policy, /default-src 'self'/)
    t.notMatch(policy, /https:|validator|upgrade-insecure-requests|unsafe/)
  }
  const script = await (await fetch(`${url}/docs/static/swagger-initializer.js`)).text()
  t.match(script, /validatorUrl: null/, 'no external validator')
})

t.test('the page shows the document of /openapi.json', async t => {
  const [shown, published] = await Promise.all(
    ['/docs/json', '/openapi.json'].map(async path => await (await fetch(url + path)).json())
  )
  t.same(shown, published)
})

t.test('METRICS_TOKEN is the only token that opens /metrics, and it opens nothing else', async t => {
  const guarded = await startService(t, { WORKERS: '0', METRICS_TOKEN: 'scrape-me' })
  const get = (path: string, authorization?: string) =>
    fetch(guarded.url + path, { headers: authorization === undefined ? {} : { authorization } })
  const without = await get('/metrics')
  t.equal(without.status, 401)
  t.equal(without.headers.get('www-authenticate'), 'Bearer')
  t.equal((await get('/metrics', 'Bearer scrape-you')).status, 401)
  t.equal((await get('/metrics', `Bearer ${token()}`)).status, 401)
  t.match(await (await get('/metrics', 'bearer scrape-me')).text(), /^# HELP/)
  t.equal((await get('/api/v1/jobs', 'Bearer scrape-me')).status, 401)
  t.equal((await get('/readyz')).status, 200)
})

t.test('a database file that was removed or replaced: not ready, 503, and one line in the log', async t => {
  const service = await startService(t, { WORKERS: '1', LOG_LEVEL: 'info' })
  const { databasePath, ask, askJson, logs, submit } = service
  const reasons = () => logs.filter(({ level }) => level >= 40).map(({ msg, reason }) => [msg, reason])
  const requireDown = async (event: string) => {
    await untilWithin(5000, async () => (await ask('/readyz')).status === 503, event)
    t.match(await askJson('/readyz'), { status: 'unavailable', store: { status: 'down', reason: new RegExp(event) } })
    t.match(await askJson('/api/v1/service', { claims: { scope: 'jobs:admin' } }), {
      store: { status: 'down', reason: new RegExp(event) }, current: { isStoreUp: false }
    }, 'the service can still be looked at')
    for (const [path, options] of [
      ['/api/v1/jobs', { method: 'POST', body: { type: 'remote', input: {} } }], ['/api/v1/jobs?limit=1', {}],
      ['/api/v1/jobs/unknown', {}]
    ] as const) {
      const answer = await ask(path, options)
      t.equal(answer.status, 503, path)
      t.match(await answer.json(), { code: 'STORE_UNAVAILABLE' })
    }
  }
  renameSync(databasePath, `${databasePath}.away`)
  await requireDown('removed')
  renameSync(`${databasePath}.away`, databasePath)
  await untilWithin(5000, async () => (await ask('/readyz')).status === 200, 'the recovery')
  await submit('remote', {})

  copyFileSync(databasePath, `${databasePath}.copy`)
  renameSync(`${databasePath}.copy`, databasePath)
  await requireDown('replaced')
  const lines = reasons().filter(([, reason]) => reason !== undefined)
  t.match(lines, [[/store cannot be read/, /removed/], [/store cannot be read/, /replaced/]])
  t.equal(lines.length, 2)
  t.ok(reasons().every(([msg]) => !/tried again|tries again/.test(msg)), 'the loops and the worker do not repeat it')
})
