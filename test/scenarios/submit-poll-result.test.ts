import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startPostgres } from '../helpers/postgres.ts'
import { startRedis } from '../helpers/redis.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'

/** Polls as a well-behaved client does: no sooner than Retry-After says, and with its last ETag. */
const poll = async (service: SpawnedService, location: string) => {
  const states: string[] = []
  let tag = ''
  let body: Record<string, unknown> = {}
  for (;;) {
    const answer = await service.ask(location, tag === '' ? {} : { headers: { 'if-none-match': tag } })
    if (answer.status === 200) {
      body = await answer.json() as Record<string, unknown>
      states.push(String(body.status))
    }
    const wait = answer.headers.get('retry-after-ms')
    if (wait === null) return { body, states }
    tag = answer.headers.get('etag') ?? ''
    await delay(Number(wait))
  }
}

const chain = (t: Test, open: (t: Test) => Promise<SpawnedService>) => {
  t.test('US-094 submit, US-095 poll to completion, US-096 fetch the result', async t => {
    const service = await open(t)
    await service.sql(`INSERT INTO JobExecutionLog (jobId, type, status, startTime, endTime)
      VALUES ('job-1', 'import', 'Succeeded', '2026-01-01 00:00:00', '2026-01-01 00:00:02')`)
    const submitted = await service.ask('/api/v1/jobs', {
      method: 'POST', body: { type: 'report', input: { type: 'import' } }
    })
    t.equal(submitted.status, 202)
    const location = new URL(submitted.headers.get('location') ?? '')
    t.equal(location.origin, service.url)
    t.ok(Number(submitted.headers.get('retry-after')) >= 1)
    const { jobId, statusUrl } = await submitted.json() as { jobId: string, statusUrl: string }
    t.equal(statusUrl, location.href)

    const { body, states } = await poll(service, location.pathname)
    t.match(body, { jobId, status: 'Succeeded', errorDetails: null, resultUrl: `/api/v1/jobs/${jobId}/result` })
    const order = ['Queued', 'Running', 'Succeeded']
    t.same(states, [...states].sort((a, b) => order.indexOf(a) - order.indexOf(b)), 'forward only')

    const result = await service.ask(String(body.resultUrl))
    t.equal(result.status, 200)
    t.match(result.headers.get('content-type'), /^application\/json/)
    const bytes = Buffer.from(await result.arrayBuffer())
    t.equal(result.headers.get('repr-digest'), `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`)
    const report = JSON.parse(bytes.toString())
    t.match(JSON.stringify(report), /"Succeeded":1/)
  })

  t.test('a job that fails reports why, and has no result', async t => {
    const service = await open(t)
    const jobId = await service.submit('sanitize', { content: '{"broken":', contentType: 'application/json' })
    const { body } = await poll(service, `/api/v1/jobs/${jobId}`)
    t.match(body, { status: 'Failed', resultUrl: null, errorDetails: { code: 'INVALID_JSON' } })
    const result = await service.ask(`/api/v1/jobs/${jobId}/result`)
    t.equal(result.status, 409)
    t.match(await result.json(), { code: 'JOB_FAILED', jobStatus: 'Failed' })
    const logged = () => service.lines.filter(
      line => line.startsWith('{'
      ) && line.includes('"event"') && line.includes(jobId)).map(line => JSON.parse(line))
    await until(() => logged().length >= 2, 'both lines')
    t.match(
      logged(), [{ event: 'claim', state: 'running', attempt: 1 }, { event: 'fail', state: 'failed', msg: 'job failed' }],
      'the log tells its life'
    )
    t.match(await (await service.ask('/metrics')).text(), /job_transitions_total\{event="fail",state="failed"\} 1/)
  })
}

t.test('with the cache in memory', async t => {
  const service = await spawnService(t)
  chain(t, () => Promise.resolve(service))
})

t.test('with Redis', async t => {
  const redis = await startRedis(t)
  const service = await spawnService(t, { REDIS_URL: redis.url })
  chain(t, () => Promise.resolve(service))
  t.test('and the answers did come from it', async t => {
    t.ok((await redis.client.keys('js:*')).length > 1)
  })
})

t.test('on Postgres, with the cache in memory and with Redis', async t => {
  const [postgres, redis] = [await startPostgres(t), await startRedis(t)]
  for (const env of [{}, { REDIS_URL: redis.url }]) {
    await t.test(Object.keys(env).join() || 'in memory', async t => {
      const DATABASE_URL = await postgres.createDatabase(t)
      const service = await spawnService(t, { DATABASE_URL, ...env })
      const sql = async (statement: string) =>
        JSON.stringify((await postgres.sql(statement, new URL(DATABASE_URL).pathname.slice(1))).rows)
      chain(t, () => Promise.resolve({ ...service, sql }))
    })
  }
})
