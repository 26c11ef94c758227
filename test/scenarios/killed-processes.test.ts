import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { startRedis } from '../helpers/redis.ts'
import { spawnService, startService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'
import { suspendInReport } from './suspended-report.ts'

const visibleWithinMs = 1000

t.test('killed between commit and cache write: the relay finishes it', async t => {
  const redis = await startRedis(t)
  const service = await startService(t, { REDIS_URL: redis.url, WORKERS: '0' })
  const jobId = await service.submit('remote', {})
  // A lease as a worker of another process would hold it.
  await service.sql(`UPDATE JobExecutionLog SET status = 'Running', attempt = 1 WHERE jobId = '${jobId}';
    UPDATE JobQueue SET leaseToken = 'held', leaseHolder = 'elsewhere', leaseExpiresAt = ${Date.now() + 60_000} WHERE jobId = '${jobId}'`)
  await until(async () => (await service.askJson(`/api/v1/jobs/${jobId}`)).status === 'Running')
  const before = await service.ask(`/api/jobs/${jobId}/status`)
  const { data: { version } } = await before.json() as { data: { version: number } }

  const killed = promisify(execFile)(process.execPath, [
    'test/helpers/killed-writer.ts', service.databasePath, jobId, 'held'
  ])
  t.equal(await killed.then(() => 'lived', (error: { signal: string }) => error.signal), 'SIGKILL')
  t.equal(
    await service.sql(`SELECT progressPercent FROM JobExecutionLog WHERE jobId = '${jobId}'`), '77.0',
    'it was committed'
  )
  const after = await until(async () => {
    const { data } = await service.askJson(`/api/jobs/${jobId}/status`)
    return data.progress.percent === 77 ? data : undefined
  }, 'the committed progress', visibleWithinMs)
  t.ok(after.version > version)
})

t.test('a service killed in the middle of its jobs takes them up again, and only its own', async t => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, WORKERS: '1' }
  const first = await spawnService(t, env)
  const { databasePath } = first
  // More rows than are read before the kill, so that the report is still running then.
  await first.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
    INSERT INTO JobExecutionLog (jobId, status, startTime) SELECT 'row-' || i, 'Running', '2026-01-01' FROM n`)
  const statusIn = async (jobId: string) => await first.sql(
    `SELECT status FROM JobExecutionLog WHERE jobId = '${jobId}'`
  )
  let queued = ''
  const { jobId: running, shown } = await suspendInReport(first, async () => {
    queued = await first.submit('sanitize', { content: 'a\u200bb', contentType: 'text/plain' })
  })
  t.same(await first.kill('SIGKILL'), { code: null, signal: 'SIGKILL' })
  t.equal(await statusIn(running), 'Running')
  t.equal(await statusIn(queued), 'Queued')

  const second = await spawnService(t, env, databasePath)
  t.ok((await second.askJson(`/api/jobs/${running}/status`)).data.version >= shown, 'never older than what was shown')
  t.match(await second.finished(queued), { status: 'Succeeded' })
  t.equal(await (await second.ask(`/api/v1/jobs/${queued}/result`)).text(), 'ab')
  t.match(await second.finished(running), { status: 'Succeeded' })
  const { data } = await second.askJson(`/api/jobs/${running}/status`)
  t.equal(data.attempt, 2)
  t.equal(await second.sql(
    "SELECT count(*) FROM JobExecutionLog WHERE jobId LIKE 'row-%' AND status = 'Running' AND version <= 150000"
  ), '150000',
  'rows of others are as they were')
})

t.test('an acknowledged submission survives a kill at once', async t => {
  const first = await spawnService(t, { WORKERS: '0' })
  const jobIds = await Promise.all(Array.from({ length: 20 }, () => first.submit('remote', { x: 1 })))
  await first.kill('SIGKILL')
  t.equal(await first.sql('PRAGMA integrity_check'), 'ok')
  const second = await spawnService(t, { WORKERS: '0' }, first.databasePath)
  for (const jobId of jobIds) t.match(await second.askJson(`/api/v1/jobs/${jobId}`), { status: 'Queued' })
})
