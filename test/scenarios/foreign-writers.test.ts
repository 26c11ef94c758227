import t, { type Test } from 'tap'
import { startRedis } from '../helpers/redis.ts'
import { type Service, startService } from '../helpers/service.ts'
import { until, untilWithin } from '../helpers/until.ts'
import { startPollers } from './pollers.ts'

// The bound of the contract; usually a tenth of it.
const visibleWithinMs = 1000

const scenarios = (t: Test, open: (t: Test) => Promise<Service>) => {
  t.test('a row that the sqlite3 program writes shows within a second, whatever was cached', async t => {
    const service = await open(t)
    const status = async () => {
      const answer = await service.ask('/api/v1/jobs/job-123')
      return answer.status === 200 ? (await answer.json() as { status: string }).status : answer.status
    }
    const shows = async (sql: string, expected: unknown) => {
      await status()
      await service.sql(sql)
      await untilWithin(visibleWithinMs, async () => await status() === expected, sql)
      t.pass(sql)
    }
    t.equal(await status(), 404)
    await shows("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Queued')", 'Queued')
    await shows("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'job-123'", 'Running')
    await shows("INSERT OR REPLACE INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Queued')", 'Queued')
    await shows("UPDATE JobExecutionLog SET status = 'Running', version = 1 WHERE jobId = 'job-123'", 'Running')
    await shows("DELETE FROM JobExecutionLog WHERE jobId = 'job-123'", 410)
    await shows("INSERT INTO JobExecutionLog (jobId, status, version) VALUES ('job-123', 'Running', 0)", 'Running')
    await shows("REPLACE INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Succeeded')", 'Succeeded')
    for (const sql of [
      "UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'job-123'",
      "REPLACE INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Queued')",
      "DELETE FROM JobExecutionLog WHERE jobId = 'job-123'; INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Queued')"
    ]) await t.rejects(service.sql(`BEGIN; ${sql}; COMMIT`), /BR-001/)
    t.equal(await status(), 'Succeeded')
  })

  t.test('under load no poller sees a version fall', async t => {
    const service = await open(t)
    const jobIds = ['a', 'b', 'c']
    for (const id of jobIds) {
      await service.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('${id}', 'Running')`)
    }
    const pollers = startPollers(service, jobIds, 12)
    for (let percent = 1; percent <= 25; percent++) {
      const written = await service.sql(
        `UPDATE JobExecutionLog SET progressPercent = ${percent}; SELECT max(version) FROM JobExecutionLog`
      )
      await until(() => Math.max(...pollers.newest.values()) >= Number(written), `version ${written}`)
    }
    await service.sql("UPDATE JobExecutionLog SET status = 'Succeeded'")
    await untilWithin(
      visibleWithinMs, async () => (await service.askJson('/api/v1/jobs/c')).status === 'Succeeded', 'the end'
    )
    const seen = await pollers.stop()
    t.same(seen.complaints, [])
    t.ok(seen.answers > 100)
  })

  t.test('a thousand concurrent readers of a cold job make two reads of the store at most', async t => {
    const service = await open(t)
    const metrics = async () => {
      const text = await (await service.ask('/metrics')).text()
      const of = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
      return { reads: of('job_status_reads_total\\{source="store"\\}'), trips: of('job_status_cache_trips_total') }
    }
    const readCold = async (jobId: string) => {
      await until(async () => (await service.askJson('/readyz')).cache.mode === 'on', 'the cache in use')
      await service.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('${jobId}', 'Succeeded')`)
      const before = await metrics()
      const answers = await Promise.all(Array.from({ length: 1000 }, () => service.ask(`/api/v1/jobs/${jobId}`)))
      t.ok(answers.every(answer => answer.status === 200))
      const after = await metrics()
      return { reads: after.reads - before.reads, isCacheLeft: after.trips > before.trips }
    }
    let seen = await readCold('cold')
    // On a busy machine Redis may answer too late: the cache is left then, and the store answers alone.
    for (let i = 0; i < 5 && seen.isCacheLeft; i++) seen = await readCold(`cold-${i}`)
    t.match(seen, { reads: /^[12]$/, isCacheLeft: false })
  })
}

t.test('with the cache in memory', t => {
  scenarios(t, async t => await startService(t, { WORKERS: '0' }))
  t.end()
})

t.test('with Redis', async t => {
  const redis = await startRedis(t)
  scenarios(t, async t => await startService(t, { REDIS_URL: redis.url, WORKERS: '0' }))
})
