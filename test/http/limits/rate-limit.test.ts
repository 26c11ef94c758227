import fc from 'fast-check'
import t, { type Test } from 'tap'
import { ServiceFailure } from '../../../src/errors.ts'
import type { Principal } from '../../../src/http/auth/principal.ts'
import { createRateLimit } from '../../../src/http/limits/rate-limit.ts'
import { startRedis } from '../../helpers/redis.ts'
import type { Json } from '../../helpers/client.ts'
import { type Environment, startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { awaitWaiting } from '../../helpers/waiting.ts'

const minuteMs = 60_000

const toPrincipal = (subject: string, tenant = subject): Principal => ({
  subject, tenant, scopes: [], allTenants: false, expiresAt: Infinity
})
const ann = toPrincipal('ann')

/** A limit on a clock of the test. `ask` returns after how many seconds to retry; 0: admitted. */
const open = (perMinute: number) => {
  const clock = { ms: 1000 }
  const limited: string[] = []
  const { draw } = createRateLimit({
    perMinute, now: () => clock.ms, onLimited: ({ subject }) => { limited.push(subject) }
  })
  const ask = (principal = ann): number => {
    try {
      draw(principal)
      return 0
    } catch (error) {
      if (!(error instanceof ServiceFailure) || error.code !== 'RATE_LIMITED') throw error
      return error.facts.retryAfterSeconds ?? NaN
    }
  }
  return { clock, limited, ask }
}

t.test('admits the requests of a minute at once, and refills evenly', async t => {
  const { clock, ask } = open(60)
  for (let i = 0; i < 60; i++) t.equal(ask(), 0)
  t.equal(ask(), 1)
  clock.ms += 999
  t.equal(ask(), 1, 'a rejection draws nothing, and a part of a request admits none')
  clock.ms += 1
  t.equal(ask(), 0)
  t.equal(ask(), 1)
  clock.ms += 10 * minuteMs
  for (let i = 0; i < 60; i++) t.equal(ask(), 0)
  t.equal(ask(), 1, 'no more is saved than a minute\'s')
})

t.test('Retry-After is never more than 5 s', async t => {
  for (const [perMinute, seconds] of [[1, 5], [11, 5], [12, 5], [13, 5], [30, 2], [59, 2], [1_000_000, 1]] as const) {
    const { ask } = open(perMinute)
    for (let i = 0; i < perMinute; i++) ask()
    t.equal(ask(), seconds, `${perMinute} a minute`)
  }
})

t.test('each subject has its own bucket; the same name under another tenant is another subject', async t => {
  const { ask, limited } = open(1)
  const all = [
    ann, toPrincipal('bob'), toPrincipal('ann', 'acme'), toPrincipal('eann', 'acm'), toPrincipal('', 'acmeann')
  ]
  for (const principal of all) t.equal(ask(principal), 0)
  for (const principal of all) t.equal(ask(principal), 5)
  t.equal(ask({ ...ann, scopes: ['jobs:read'] }), 5, 'another token of the same subject is not')
  t.same(limited, ['ann', 'bob', 'ann', 'eann', ''])
})

t.test('reports a limited subject once, until a minute has passed without rejections', async t => {
  const { clock, ask, limited } = open(1)
  ask()
  for (let i = 0; i < 100; i++) {
    ask()
    clock.ms += 500
  }
  t.same(limited, ['ann'])
  clock.ms += minuteMs + 1
  ask()
  ask()
  t.same(limited, ['ann', 'ann'])
})

t.test('in any rhythm of requests no stretch of time admits more than the limit, and a client that waits for Retry-After is admitted', async () => {
  const rhythms = fc.record({
    perMinute: fc.integer({ min: 12, max: 400 }),
    pauses: fc.array(fc.oneof(fc.constant(0), fc.integer({
      min: 1, max: 300
    }), fc.double({ min: 0, max: 20_000, noNaN: true })), { maxLength: 300 })
  })
  fc.assert(fc.property(rhythms, ({ perMinute, pauses }) => {
    const { clock, ask } = open(perMinute)
    const admitted: number[] = []
    for (const pause of pauses) {
      clock.ms += pause
      const seconds = ask()
      if (seconds === 0) admitted.push(clock.ms)
    }
    for (const [first, from] of admitted.entries()) {
      for (let last = first; last < admitted.length; last += 7) {
        const ms = (admitted[last] ?? 0) - from
        if (last - first + 1 > perMinute + ms * perMinute / minuteMs + 0.001) return false
      }
    }
    let seconds = 0
    for (let i = 0; i <= perMinute && seconds === 0; i++) seconds = ask()
    clock.ms += seconds * 1000
    return seconds >= 1 && seconds <= 5 && ask() === 0
  }), { seed: 5, numRuns: 60 })
})

/** Sends requests until one is rejected. Returns the rejection. */
const exhaust = async (ask: () => Promise<Response>): Promise<Response> => {
  for (let answers = 0; ; answers++) {
    const answer = await ask()
    if (answer.status === 429) return answer
    await answer.arrayBuffer()
    if (answers > 500) throw new Error('no request is rejected')
  }
}

const startLimited = async (t: Test, env: Environment = {}) => {
  const service = await startService(t, { WORKERS: '0', RATE_LIMIT_PER_MINUTE: '30', ...env })
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  return service
}

t.test('a subject over the limit gets 429 on every route, in the shape of its path', async t => {
  const { ask, logs } = await startLimited(t)
  const claims = { sub: 'hasty', scope: 'jobs:read jobs:write' }
  const rejected = await exhaust(() => ask('/api/v1/jobs/job-1', { claims }))
  t.match(rejected.headers.get('retry-after'), /^[1-5]$/)
  t.equal(rejected.headers.get('cache-control'), 'no-store')
  t.match(rejected.headers.get('content-type'), 'application/problem+json')
  t.match(await rejected.json(), {
    type: 'about:blank', status: 429, code: 'RATE_LIMITED', detail: /30 requests/, instance: '/api/v1/jobs/job-1'
  })

  const requests: [path: string, method: string, body?: unknown][] = [
    ['/api/jobs/job-1/status', 'GET'], ['/api/v1/jobs/job-1/result', 'GET'], ['/api/v1/jobs', 'GET'],
    ['/api/v1/no/such/route', 'GET'],
    ['/api/v1/jobs', 'POST', { type: 'x', input: 1 }], ['/api/jobs/job-1/cancel', 'POST', {}],
    ['/api/v1/jobs/job-1', 'DELETE'],
    ['/api/sanitize', 'POST', { content: 'x', contentType: 'text/plain' }],
    ['/api/v1/worker/claim', 'POST', { types: ['x'] }],
    ['/api/v1/worker/jobs/job-1/result?offset=0', 'PUT', 'bytes']
  ]
  for (const [path, method, body] of requests) {
    // Allowance comes back while one asks.
    const answer = await exhaust(() => ask(path, { method, claims, ...(body === undefined ? {} : { body }) }))
    t.match(answer.headers.get('retry-after'), /^[1-5]$/, `${method} ${path}`)
    const isEnvelope = /^\/api\/(jobs|sanitize)/.test(path)
    t.match(await answer.json(), isEnvelope
      ? {
          success: false, error: { code: 'RATE_LIMITED', message: String }
        }
      : { code: 'RATE_LIMITED' }, `${method} ${path}`)
  }
  t.equal((await ask('/api/v1/jobs/job-1', {
    claims: { ...claims, sub: 'patient' }
  })).status, 200, 'another subject is not concerned')
  t.equal((await ask('/api/v1/jobs/job-1', {
    claims: { ...claims, tenant: 'acme' }
  })).status, 200, 'nor the same name under another tenant')
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json']) {
    t.equal((await ask(path, { claims })).status, 200, `${path} is not limited`)
  }
  t.equal((await ask('/api/v1/jobs/job-1', {
    headers: { authorization: '' }
  })).status, 401, 'nor is who has no token, and gets nothing')
  t.equal(logs.filter(line => line.msg.startsWith('rate limit exceeded')).length, 1, 'it is logged once')
  t.match(logs.find(line => line.msg.startsWith('rate limit exceeded')), {
    level: 40, tenant: 'hasty', subject: 'hasty'
  })
  t.notOk(logs.some(line => line.status === 429 && line.level > 20), 'and not with every request')
  t.ok(await until(async () => await (await ask('/api/v1/jobs/job-1', { claims })).json().then(
    (body: Json) => body.jobId === 'job-1'
  )), 'it comes back')
})

t.test('without the setting there is no limit', async t => {
  const { ask } = await startService(t, { WORKERS: '0' })
  const answers = await Promise.all(
    Array.from({ length: 300 }, async () => (await ask('/api/v1/jobs/no-such-job')).status)
  )
  t.same([...new Set(answers)], [404])
})

t.test('a wait counts once, whatever happens meanwhile', async t => {
  const service = await startLimited(t, { RATE_LIMIT_PER_MINUTE: '2' })
  const claims = { sub: 'patient' }
  let observers = 0
  const waiting = service.ask('/api/v1/jobs/job-1?wait=50', { claims })
  await awaitWaiting(service, 1)
  for (const percent of [10, 20, 30]) {
    await service.sql(`UPDATE JobExecutionLog SET progressPercent = ${percent}`)
    // Each is another subject, with a bucket of its own.
    await until(async () => {
      const answer = await service.ask('/api/v1/jobs/job-1', { claims: { sub: `observer-${++observers}` } })
      return answer.headers.get('job-progress') === String(percent)
    })
  }
  await service.sql("UPDATE JobExecutionLog SET status = 'Succeeded'")
  t.equal((await waiting).status, 200)
  t.equal((await service.ask('/api/v1/jobs/job-1', { claims })).status, 200, 'one more is left')
})

t.test('the limit stays as it is when Redis dies', async t => {
  const redis = await startRedis(t)
  const { ask, askJson } = await startLimited(t, { REDIS_URL: redis.url })
  const poll = (sub: string) => () => ask('/api/v1/jobs/job-1', { claims: { sub } })
  await exhaust(poll('before'))
  await redis.kill()
  await until(async () => (await askJson('/readyz')).cache.status === 'degraded')
  t.equal((await poll('another')()).status, 200, 'who has some left is answered')
  await exhaust(poll('before'))
  t.equal((await exhaust(poll('third'))).status, 429, 'who has none is not')
})
