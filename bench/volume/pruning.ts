import { closeSync, fsyncSync, openSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { createHistogram, recordMs } from '../statistics.ts'
import { authorization, databasePath, median, printTable, startService } from './service.ts'

/*
 * The cost of pruning: first a database with many expired records, then one large result to which no record refers,
 * while a client polls a running job at a steady rate. The goal is to block the event loop for less than 10 ms at a
 * time. `PRUNED_RECORDS` and `PRUNED_MIB` reduce the amount.
 */

const records = Number(process.env.PRUNED_RECORDS ?? 1_000_000)
const chunkBytes = 256 * 1024
const chunks = Math.ceil(Number(process.env.PRUNED_MIB ?? 1024) * 1024 * 1024 / chunkBytes)
const pollEveryMs = 10
const sampleEveryMs = 1000
// Resolution of the service's event-loop monitor, which is part of each delay that it measures.
const monitorMs = 10
const ended = new Date(Date.now() - 86_400_000).toISOString()

// Flushes the written data to the disk, so that the service does not have to wait for it.
const flush = (database: SqliteDatabase.Database): void => {
  database.pragma('wal_checkpoint(TRUNCATE)')
  const file = openSync(databasePath, 'r+')
  fsyncSync(file)
  closeSync(file)
}

const prepare = async (): Promise<SqliteDatabase.Database> => {
  const database = openDatabase(databasePath)
  await migrate(database.writer)
  await database.close()
  const writer = new SqliteDatabase(databasePath)
  writer.pragma('synchronous = OFF')
  const insert = writer.prepare(`
    WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO JobExecutionLog
      (jobId, type, status, tenant, submittedBy, createdAt, startTime, endTime, attempt, progressPercent)
    SELECT 'record-' || i, 'report', CASE i % 4 WHEN 0 THEN 'Failed' ELSE 'Succeeded' END, 'bench', 'bench',
      '${ended}', '${ended}', '${ended}', 1, 100 FROM n`)
  for (let i = 1; i <= records; i += 50_000) insert.run(i, Math.min(records, i + 49_999))
  writer.exec("INSERT INTO JobExecutionLog (jobId, status, progressPercent) VALUES ('running', 'Running', 40)")
  flush(writer)
  return writer
}

/** Polls at a fixed rate. The returned function stops it and returns the latencies. */
const startPolling = (url: string) => {
  const times = createHistogram()
  let failures = 0
  const poll = async () => {
    const start = performance.now()
    const answer = await fetch(`${url}/api/v1/jobs/running`, { headers: { authorization } })
    await answer.arrayBuffer()
    if (answer.status !== 200) failures++
    recordMs(times, performance.now() - start)
  }
  const timer = setInterval(() => { poll().catch(() => { failures++ }) }, pollEveryMs)
  const toMs = (us: number) => (us / 1000).toFixed(1)
  return () => {
    clearInterval(timer)
    const [p50, p99] = [50, 99].map(percentile => toMs(times.getValueAtPercentile(percentile)))
    return { count: times.totalCount, failures, p50, p99, max: toMs(times.maxValue) }
  }
}

type Service = Awaited<ReturnType<typeof startService>>

// Each read of /metrics resets the monitor.
const lag = async (url: string): Promise<{ p99: number, max: number }> => {
  const text = await (await fetch(`${url}/metrics`)).text()
  const blockedMs = (name: string) => {
    const seconds = new RegExp(`^nodejs_eventloop_lag_${name}_seconds ([0-9.e+-]+)$`, 'm').exec(text)?.[1]
    return Number(seconds) * 1000 - monitorMs
  }
  return { p99: blockedMs('p99'), max: blockedMs('max') }
}

const toMedianAndMax = (numbers: number[]): string =>
  `${median(numbers).toFixed(1)}, ${Math.max(0, ...numbers).toFixed(1)}`

/**
 * Measures the service until `isDone` returns true. The first sample is discarded, because it covers the time before.
 */
const watch = async (service: Service, what: string, count: number, isDone: () => boolean): Promise<void> => {
  await lag(service.url)
  const stopPolling = startPolling(service.url)
  const samples: Array<{ p99: number, max: number }> = []
  const start = performance.now()
  while (!isDone()) {
    await delay(Math.min(sampleEveryMs, 100))
    if (performance.now() - start > samples.length * sampleEveryMs) samples.push(await lag(service.url))
  }
  const seconds = (performance.now() - start) / 1000
  const polls = stopPolling()
  printTable({
    [what]: count,
    seconds: seconds.toFixed(1),
    'per second': Math.round(count / seconds),
    'event loop blocked, p99 of each second: median, max (ms)': toMedianAndMax(samples.map(({ p99 }) => p99)),
    'event loop blocked, max of each second: median, max (ms)': toMedianAndMax(samples.map(({ max }) => max)),
    polls: `${polls.count} (${polls.failures} failed)`,
    'polls p50, p99, max (ms)': `${polls.p50}, ${polls.p99}, ${polls.max}`
  })
  process.stdout.write('\n')
}

const database = await prepare()
const service = await startService({ RECORD_RETENTION_SECONDS: '1', PRUNE_INTERVAL_SECONDS: '1' })
try {
  const isPruned = (query: string) => {
    const statement = database.prepare(query)
    return () => statement.get() === undefined
  }
  await watch(service, 'records', records, isPruned(`
    SELECT 1 FROM JobExecutionLog WHERE status IN ('Succeeded', 'Failed') AND submittedBy IS NOT NULL LIMIT 1`))

  const start = performance.now()
  await watch(service, 'nothing to prune: seconds idle', 10, () => performance.now() - start > 10_000)

  const insert = database.prepare(`
    WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO JobResultChunk (jobId, startOffset, bytes)
    SELECT 'large', i * ${chunkBytes}, randomblob(${chunkBytes}) FROM n`)
  for (let i = 0; i < chunks; i += 64) insert.run(i, Math.min(chunks, i + 64) - 1)
  flush(database)
  database.exec("INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'large', 0)")
  await watch(service, `chunks of ${chunkBytes / 1024} KiB`, chunks, isPruned('SELECT 1 FROM OrphanedBytes LIMIT 1'))
} finally {
  await service.stop()
  database.close()
}
