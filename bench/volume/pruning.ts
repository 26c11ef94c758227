import { closeSync, fsyncSync, openSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { build } from 'hdr-histogram-js'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { authorization, databasePath, printTable, startService } from './service.ts'

/*
 * What it costs a service to prune: a database full of finished records that are past their time, and then one large
 * result that nobody refers to, while a client polls a running job at a steady rate. The event loop is meant to be held
 * for less than 10 ms at a time. `PRUNED_RECORDS` and `PRUNED_MIB` make it smaller.
 */

const records = Number(process.env.PRUNED_RECORDS ?? 1_000_000)
const chunkBytes = 256 * 1024
const chunks = Math.ceil(Number(process.env.PRUNED_MIB ?? 1024) * 1024 * 1024 / chunkBytes)
const pollEveryMs = 10
const sampleEveryMs = 1000
// The service's monitor looks this often, and counts the wait for its look.
const monitorMs = 10
const ended = new Date(Date.now() - 86_400_000).toISOString()

// What was written for the bench must not be what the service waits for.
const settle = (database: SqliteDatabase.Database): void => {
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
    INSERT INTO JobExecutionLog (jobId, type, status, tenant, submittedBy, createdAt, startTime, endTime, attempt, progressPercent)
    SELECT 'record-' || i, 'report', CASE i % 4 WHEN 0 THEN 'Failed' ELSE 'Succeeded' END, 'bench', 'bench', '${ended}', '${ended}', '${ended}', 1, 100 FROM n`)
  for (let i = 1; i <= records; i += 50_000) insert.run(i, Math.min(records, i + 49_999))
  writer.exec("INSERT INTO JobExecutionLog (jobId, status, progressPercent) VALUES ('running', 'Running', 40)")
  settle(writer)
  return writer
}

/** Polls without pause until it is stopped; the times in microseconds. */
const startPolling = (url: string) => {
  const times = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
  let failures = 0
  const poll = async () => {
    const start = performance.now()
    const answer = await fetch(`${url}/api/v1/jobs/running`, { headers: { authorization } })
    await answer.arrayBuffer()
    if (answer.status !== 200) failures++
    times.recordValue(Math.max(1, Math.round((performance.now() - start) * 1000)))
  }
  const timer = setInterval(() => { poll().catch(() => { failures++ }) }, pollEveryMs)
  const toMs = (us: number) => (us / 1000).toFixed(1)
  return () => {
    clearInterval(timer)
    return { count: times.totalCount, failures, p50: toMs(times.getValueAtPercentile(50)), p99: toMs(times.getValueAtPercentile(99)), max: toMs(times.maxValue) }
  }
}

type Service = Awaited<ReturnType<typeof startService>>

// Each look at the metrics ends what the monitor counts, and begins it anew.
const lag = async (url: string): Promise<{ p99: number, max: number }> => {
  const text = await (await fetch(`${url}/metrics`)).text()
  const heldMs = (name: string) => Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds ([0-9.e+-]+)$`, 'm').exec(text)?.[1]) * 1000 - monitorMs
  return { p99: heldMs('p99'), max: heldMs('max') }
}

const highest = (numbers: number[]): string => Math.max(0, ...numbers).toFixed(1)
const middle = (numbers: number[]): string => (numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0).toFixed(1)

/** What goes on until `isDone`; the first sample is left out, for it covers what was before. */
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
    'a second': Math.round(count / seconds),
    'event loop held, p99 of each second: median, highest (ms)': `${middle(samples.map(({ p99 }) => p99))}, ${highest(samples.map(({ p99 }) => p99))}`,
    'event loop held, longest of each second: median, highest (ms)': `${middle(samples.map(({ max }) => max))}, ${highest(samples.map(({ max }) => max))}`,
    'polls meanwhile': `${polls.count} (${polls.failures} failed)`,
    'polls p50, p99, max (ms)': `${polls.p50}, ${polls.p99}, ${polls.max}`
  })
  process.stdout.write('\n')
}

const database = await prepare()
const service = await startService({ RECORD_RETENTION_SECONDS: '1', PRUNE_INTERVAL_SECONDS: '1' })
try {
  const left = (query: string) => {
    const statement = database.prepare(query)
    return () => statement.get() === undefined
  }
  await watch(service, 'records', records, left("SELECT 1 FROM JobExecutionLog WHERE status IN ('Succeeded', 'Failed') AND submittedBy IS NOT NULL LIMIT 1"))

  const start = performance.now()
  await watch(service, 'nothing to prune: seconds idle', 10, () => performance.now() - start > 10_000)

  const insert = database.prepare(`
    WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO JobResultChunk (jobId, startOffset, bytes) SELECT 'large', i * ${chunkBytes}, randomblob(${chunkBytes}) FROM n`)
  for (let i = 0; i < chunks; i += 64) insert.run(i, Math.min(chunks, i + 64) - 1)
  settle(database)
  database.exec("INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'large', 0)")
  await watch(service, `chunks of ${chunkBytes / 1024} KiB`, chunks, left('SELECT 1 FROM OrphanedBytes LIMIT 1'))
} finally {
  await service.stop()
  database.close()
}
