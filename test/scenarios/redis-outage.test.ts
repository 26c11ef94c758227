import t from 'tap'
import { startRedis } from '../helpers/redis.ts'
import { startService } from '../helpers/service.ts'
import { until, untilWithin } from '../helpers/until.ts'
import { startPollers } from './pollers.ts'

t.test('when Redis is killed in mid-traffic and comes back empty, every poll is answered and no version goes backward', async t => {
  const redis = await startRedis(t)
  const service = await startService(t, { REDIS_URL: redis.url, WORKERS: '0' })
  const jobIds = ['job-1', 'job-2']
  for (const id of jobIds) await service.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('${id}', 'Running')`)
  const cacheStatus = async () => (await service.askJson('/readyz')).cache.status
  await until(async () => await cacheStatus() === 'ok')

  const pollers = startPollers(service, jobIds, 8)
  /** Lets the pollers work through some more polls. */
  const traffic = async (answers = 200) => {
    const goal = pollers.seen.answers + answers
    await until(() => pollers.seen.answers >= goal, 'traffic')
  }
  let percent = 0
  const write = async () => {
    percent++
    for (const id of jobIds) {
      await service.sql(`UPDATE JobExecutionLog SET progressPercent = ${percent} WHERE jobId = '${id}'`)
    }
  }
  for (let round = 0; round < 3; round++) {
    await write()
    await traffic()
    await redis.kill()
    await write()
    await traffic()
    t.equal(await cacheStatus(), 'degraded')
    t.match(await service.askJson('/readyz'), {
      status: 'degraded', store: { status: 'ok' }, cache: { kind: 'redis', reason: String }
    })
    await redis.restart()
    await untilWithin(5000, async () => await cacheStatus() === 'ok', 'the recovery')
    await write()
    await traffic()
  }
  const seen = await pollers.stop()
  t.same(seen.complaints, [])
  t.ok(seen.versions.size > 6, 'the changes were seen')
  const lines = service.logs.filter(line => /^cache (in use|warming up|disabled)/.test(line.msg as string)).map(
    line => line.msg
  )
  t.ok(lines.every((line, index) => line !== lines[index - 1]), `one line for each change of state: ${lines.join()}`)
  // A busy machine has more than those of the three rounds.
  const trips = Number(/^job_status_cache_trips_total (\d+)$/m.exec(await (await service.ask('/metrics')).text())?.[1])
  t.ok(lines.length <= 3 * trips + 3, `not for each request: ${lines.length} lines for ${trips} trips`)
})

t.test('the service starts while Redis is down', async t => {
  const service = await startService(t, { REDIS_URL: 'redis://127.0.0.1:1', WORKERS: '0' })
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Failed')")
  t.equal((await service.ask('/api/v1/jobs/job-1')).status, 200)
  const ready = await service.ask('/readyz')
  t.equal(ready.status, 200)
  t.match(await ready.json(), { status: 'degraded', cache: { reason: /ECONNREFUSED|ETIMEDOUT/ } })
  t.equal(service.logs.filter(
    line => line.level === 40 && /^cache disabled/.test(line.msg as string
    )).length, 1, 'and it is logged once')
})

t.test('a Redis without scripts is one log line and a reason, and is used once its operator allows them', async t => {
  const redis = await startRedis(t)
  await redis.client.call('ACL', 'SETUSER', 'service', 'on', '>pass', '~*', '+@all', '-@scripting')
  const service = await startService(t, { REDIS_URL: redis.url.replace('//', '//service:pass@'), WORKERS: '0' })
  const jobId = await service.submit('remote', 1)
  const denials = async () => ((await redis.client.call('ACL', 'LOG')) as string[][]).reduce(
    (sum, entry) => sum + Number(entry[entry.indexOf('count') + 1]), 0
  )
  await until(async () => await denials() >= 4, 'several probes')
  t.equal((await service.ask(`/api/v1/jobs/${jobId}`)).status, 200)
  const ready = await service.ask('/readyz')
  t.equal(ready.status, 200)
  t.match(await ready.json(), { status: 'degraded', cache: { status: 'degraded', mode: 'off', reason: /NOPERM/ } })
  const lines = () => service.logs.filter(({ msg }) => /^cache /.test(msg as string)).map(({ msg }) => msg)
  t.same(lines(), ['cache disabled, serving from the store'])
  await redis.client.call('ACL', 'SETUSER', 'service', '+@all')
  await untilWithin(10_000, async () => (await service.askJson('/readyz')).cache.status === 'ok', 'the recovery')
  // On a busy machine it may be lost again for a late reply.
  const logged = lines()
  t.equal(logged[1], 'cache in use')
  t.ok(logged.every((line, index) => line !== logged[index - 1]), `one line a change: ${logged.join(', ')}`)
})

t.test('the log never contains the password of Redis', async t => {
  const redis = await startRedis(t)
  await redis.client.config('SET', 'requirepass', 'right')
  const service = await startService(t, {
    REDIS_URL: redis.url.replace('//', '//default:s3cr3t-wrong@'), WORKERS: '0', LOG_LEVEL: 'trace'
  })
  t.match(await service.askJson('/readyz'), { cache: { status: 'degraded' } })
  t.ok(service.logs.some(line => line.msg === 'redis'), 'errors occurred and were logged')
  t.notMatch(JSON.stringify(service.logs), /s3cr3t/)
})

t.test('a Redis that hangs delays one round of requests, not every one', async t => {
  const redis = await startRedis(t)
  const service = await startService(t, { REDIS_URL: redis.url, WORKERS: '0' })
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  await service.ask('/api/v1/jobs/job-1')
  redis.process().kill('SIGSTOP')
  const pollers = startPollers(service, ['job-1'], 4)
  await until(() => pollers.seen.answers >= 500, 'traffic')
  t.match(await service.askJson('/readyz'), { cache: { status: 'degraded' } })
  redis.process().kill('SIGCONT')
  await untilWithin(5000, async () => (await service.askJson('/readyz')).cache.status === 'ok', 'the recovery')
  t.same((await pollers.stop()).complaints, [])
})

t.test('cells of a Redis that replaced another one at the same address are not used', async t => {
  const redis = await startRedis(t)
  const service = await startService(t, { REDIS_URL: redis.url, WORKERS: '0' })
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  // A cell of a running job ends after two seconds, which may be short on a busy machine.
  const untilCell = async (isMeant: (epoch: string) => boolean, what: string) => await until(async () => {
    await service.ask('/api/v1/jobs/job-1')
    return (await redis.client.keys('js:*:job-1')).map(key => key.split(':')[2] ?? '').find(isMeant)
  }, what)
  const before = await untilCell(() => true, 'a cell')
  await redis.client.replicaof('127.0.0.1', '1')
  await untilWithin(
    5000, async () => (await service.askJson('/readyz')).cache.status === 'degraded', 'the loss to be noticed'
  )
  t.equal((await service.ask('/api/v1/jobs/job-1')).status, 200)
  await redis.client.replicaof('NO', 'ONE')
  await untilWithin(5000, async () => (await service.askJson('/readyz')).cache.status === 'ok', 'the recovery')
  t.ok(await untilCell(epoch => epoch !== before, 'a cell of a new epoch'))
})
