import SqliteDatabase from 'better-sqlite3'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { createHistogram, recordMs } from '../statistics.ts'
import { authorization, databasePath, printTable, startService } from './service.ts'

/*
 * Lists of jobs to which another program wrote long failure texts, and how long a request to /livez takes meanwhile.
 * The goal is to hold the event loop for less than 20 ms at a time. `LISTED_ROWS` and `LISTED_KIB` change the amount.
 */

const rows = Number(process.env.LISTED_ROWS ?? 200)
const textBytes = Number(process.env.LISTED_KIB ?? 256) * 1024
const probeEveryMs = 5
const rounds = 10
const idsAtOnce = 100

const prepare = async (): Promise<void> => {
  const database = openDatabase(databasePath)
  await migrate(database.writer)
  await database.close()
  const foreign = new SqliteDatabase(databasePath)
  foreign.prepare(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO JobExecutionLog (jobId, type, status, errorDetails)
    SELECT 'heavy-' || i, 'heavy', 'Failed', json_object('code', 'E', 'message', hex(zeroblob(? / 2))) FROM n`)
    .run(rows, textBytes)
  foreign.close()
}

const toMs = (us: number): string => (us / 1000).toFixed(1)

const toFigures = (times: ReturnType<typeof createHistogram>): string =>
  [50, 99, 100].map(percentile => toMs(times.getValueAtPercentile(percentile))).join(', ')

/** Asks /livez at a fixed rate while work is done; returns how long that took. */
const probeWhile = async (url: string, work: () => Promise<unknown>): Promise<string> => {
  const times = createHistogram()
  const probe = async () => {
    const start = performance.now()
    await (await fetch(`${url}/livez`)).arrayBuffer()
    recordMs(times, performance.now() - start)
  }
  const timer = setInterval(() => { void probe() }, probeEveryMs)
  await work()
  clearInterval(timer)
  return toFigures(times)
}

type Listed = { requests: number, bytesMax: number, times: ReturnType<typeof createHistogram> }

const createList = (url: string, { times, ...counts }: Listed) => {
  const get = async (query: string): Promise<string> => {
    const start = performance.now()
    const response = await fetch(url + query, { headers: { authorization } })
    const text = await response.text()
    if (response.status !== 200) throw new Error(`a list was answered with ${response.status}`)
    recordMs(times, performance.now() - start)
    counts.requests++
    counts.bytesMax = Math.max(counts.bytesMax, Buffer.byteLength(text))
    return text
  }
  return { get, counts }
}

/** Reads all rows in pages, or by their ids. */
const readAll = async (get: (query: string) => Promise<string>, isById: boolean): Promise<void> => {
  if (!isById) {
    for (let cursor: string | undefined = ''; cursor !== undefined;) {
      const text = await get(`?type=heavy&limit=200${cursor}`)
      const next = /"nextCursor":"([^"]+)"/.exec(text)?.[1]
      cursor = next === undefined ? undefined : `&cursor=${next}`
    }
    return
  }
  for (let first = 1; first <= rows; first += idsAtOnce) {
    const count = Math.min(idsAtOnce, rows - first + 1)
    await get(`?ids=${Array.from({ length: count }, (_, index) => `heavy-${first + index}`).join()}`)
  }
}

await prepare()
const service = await startService()
try {
  const idle = await probeWhile(service.url, () => new Promise(resolve => { setTimeout(resolve, 1000) }))
  const table: Record<string, string | number> = { 'idle: /livez p50, p99, max (ms)': idle }
  for (const [name, path, isById] of [
    ['pages, v1', '/api/v1/jobs', false], ['pages, tasks', '/api/jobs', false], ['ids, v1', '/api/v1/jobs', true]
  ] as const) {
    const times = createHistogram()
    const { get, counts } = createList(service.url + path, { requests: 0, bytesMax: 0, times })
    const live = await probeWhile(service.url, async () => {
      for (let round = 0; round < rounds; round++) await readAll(get, isById)
    })
    table[`${name}: requests for ${rows} rows`] = counts.requests / rounds
    table[`${name}: largest response (bytes)`] = counts.bytesMax
    table[`${name}: request p50, p99, max (ms)`] = toFigures(times)
    table[`${name}: /livez meanwhile p50, p99, max (ms)`] = live
  }
  printTable(table)
} finally {
  await service.stop()
}
