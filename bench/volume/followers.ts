import { connect, type Socket } from 'node:net'
import { availableParallelism, loadavg } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { authorization, databasePath, printTable, startService } from './service.ts'

/*
 * 1,000 clients follow the change feed while another program makes 500 changes a second. Measures the CPU of the service,
 * how soon a change is noticed, and whether followers fall behind.
 *
 * FOLLOWERS, CHANGES_PER_SECOND and SECONDS change its size.
 */

const { FOLLOWERS = '1000', CHANGES_PER_SECOND = '500', SECONDS = '20' } = process.env
const [followers, changesPerSecond, seconds] = [Number(FOLLOWERS), Number(CHANGES_PER_SECOND), Number(SECONDS)]
const jobCount = 5000
const roundMs = 10
const warmUpMs = 3000

const { url, cpuSeconds, rssBytes, stop } = await startService()
const { hostname, port } = new URL(url)
const database = new SqliteDatabase(databasePath)
database.pragma('synchronous = OFF')
database.exec(`INSERT INTO JobExecutionLog (jobId, status, type)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${jobCount})
  SELECT printf('job-%036d', i), 'Running', 'bench' FROM n`)

/** When each version was committed. */
const committedAt = new Map<number, number>()
const lateness: number[] = []
let isMeasured = false
let newestSeen = 0

const follow = async (onText: ((text: string) => void) | null) => {
  const socket: Socket = connect(Number(port), hostname)
  let bytes = 0
  socket.write(`GET /api/v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nauthorization: ${authorization}\r\n\r\n`)
  await new Promise(resolve => socket.once('data', resolve))
  socket.on('data', chunk => {
    bytes += chunk.length
    onText?.(chunk.toString('latin1'))
  })
  return { bytes: () => bytes, close: () => { socket.destroy() } }
}

const noteLateness = (text: string): void => {
  const now = performance.now()
  for (const [, version] of text.matchAll(/^id: [0-9a-z]+-(\d+)$/gm)) {
    newestSeen = Number(version)
    const at = committedAt.get(newestSeen)
    committedAt.delete(newestSeen)
    if (at !== undefined && isMeasured) lateness.push(now - at)
  }
}

const update = database.prepare('UPDATE JobExecutionLog SET progressPercent = (progressPercent + 1) % 100 WHERE seq = ?')
const start = database.prepare('UPDATE JobExecutionLog SET progressPercent = 0')
const newest = database.prepare<[], number>('SELECT max(version) FROM JobChange').pluck()
let changes = 0

const commit = database.transaction((count: number) => {
  for (let made = 0; made < count; made += 1) update.run(1 + changes++ % jobCount)
  return newest.get() ?? 0
})

/** Makes changes at the rate for some ms, whatever the timers of this process do. */
const changeFor = async (ms: number): Promise<void> => {
  const began = performance.now()
  for (let made = 0, now = began; now < began + ms; now = performance.now()) {
    const due = Math.floor((now - began) * changesPerSecond / 1000) - made
    if (due > 0) {
      const last = commit(due)
      for (let version = last - due + 1; version <= last; version += 1) committedAt.set(version, performance.now())
      made += due
    }
    await delay(roundMs)
  }
}

const quantile = (sorted: readonly number[], share: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1)

try {
  start.run()
  await delay(1000)
  const all = [await follow(noteLateness)]
  while (all.length < followers) all.push(await follow(null))
  await changeFor(warmUpMs)
  await delay(1000)
  const bytesBefore = all.map(({ bytes }) => bytes())
  const cpuBefore = cpuSeconds()
  isMeasured = true
  const began = performance.now()
  await changeFor(seconds * 1000)
  const tookSeconds = (performance.now() - began) / 1000
  const cpu = cpuSeconds() - cpuBefore
  const ended = performance.now()
  const received = () => all.map(({ bytes }, index) => bytes() - (bytesBefore[index] ?? 0))
  // Pings are less than a thousandth of it.
  const isLevel = () => newestSeen === newest.get() && Math.min(...received()) > 0.999 * Math.max(...received())
  while (!isLevel() && performance.now() < ended + 30_000) await delay(1)
  const behindMs = performance.now() - ended
  const sorted = lateness.toSorted((a, b) => a - b)
  printTable({
    followers: all.length,
    'changes a second': changesPerSecond,
    'MB a second to the followers': (received().reduce((sum, bytes) => sum + bytes, 0) / 1e6 / tookSeconds).toFixed(1),
    'cores used by the service': (cpu / tookSeconds).toFixed(2),
    'noticed after, P50 (ms)': quantile(sorted, 0.5),
    'noticed after, P99 (ms)': quantile(sorted, 0.99),
    'until the last follower had all (ms)': behindMs.toFixed(0),
    'MiB of the service': (rssBytes() / 1024 / 1024).toFixed(0),
    'load of the machine, and its cores': `${loadavg()[0]?.toFixed(1)}, ${availableParallelism()}`
  })
  if (!isLevel()) process.exitCode = 1
  for (const { close } of all) close()
} finally {
  database.close()
  await stop()
}
