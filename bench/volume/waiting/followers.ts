import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { waitingBudgets as budgets } from '../../budgets.ts'
import { tenant } from '../../datasets.ts'
import { databasePath, startProcess, startService } from '../service.ts'
import { openClient, openCrowd, toGet } from './clients.ts'
import { printFigures, quantile, toShares } from './figures.ts'

/*
 * 1,000 clients follow the change feed while another program makes 500 changes a second. Measures the CPU of the
 * service, how soon a change is noticed, and whether followers fall behind. The control is a bare Fastify route that
 * sends as many bytes to as many streams.
 *
 * FOLLOWERS, CHANGES_PER_SECOND and SECONDS change its size.
 */

const { FOLLOWERS = '1000', CHANGES_PER_SECOND = '500', SECONDS = '20' } = process.env
const [followers, changesPerSecond, seconds] = [Number(FOLLOWERS), Number(CHANGES_PER_SECOND), Number(SECONDS)]
const jobCount = 5000
const roundMs = 10
const warmUpMs = 3000
const levelMsMax = 30_000

const database = () => {
  const opened = new SqliteDatabase(databasePath)
  opened.pragma('synchronous = OFF')
  opened.exec(`INSERT INTO JobExecutionLog (jobId, status, type, tenant)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${jobCount})
    SELECT printf('job-%036d', i), 'Running', 'bench', '${tenant}' FROM n`)
  const update = opened.prepare(
    'UPDATE JobExecutionLog SET progressPercent = (progressPercent + 1) % 100 WHERE seq = ?')
  const newest = opened.prepare<[], number>('SELECT max(version) FROM JobChange').pluck()
  opened.exec('UPDATE JobExecutionLog SET progressPercent = 0')
  let changes = 0
  return {
    newest: () => newest.get() ?? 0,
    commit: opened.transaction((count: number): number => {
      for (let made = 0; made < count; made += 1) update.run(1 + changes++ % jobCount)
      return newest.get() ?? 0
    }),
    close: () => { opened.close() }
  }
}

/** When each version was committed. */
const committedAt = new Map<number, number>()
const lateness: number[] = []
let isMeasured = false
let newestSeen = 0

const noteLateness = (bytes: Buffer): void => {
  const now = performance.now()
  for (const [, version] of bytes.toString('latin1').matchAll(/^id: [0-9a-z]+-(\d+)$/gm)) {
    newestSeen = Number(version)
    const at = committedAt.get(newestSeen)
    committedAt.delete(newestSeen)
    if (at !== undefined && isMeasured) lateness.push(now - at)
  }
}

/** Makes changes at the rate for some ms, whatever the timers of this process do. */
const changeFor = async (ms: number, commit: (count: number) => number): Promise<void> => {
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

/** Cores that the control uses. */
const measureControl = async (bytesPerSecond: number): Promise<number> => {
  const control = await startProcess('bench/controls/broadcast.ts', { BYTES_PER_SECOND: String(bytesPerSecond) })
  const request = toGet(control.url, '/stream')
  const close = await openCrowd({ url: control.url, count: followers, toRequest: () => request })
  const before = control.usage()
  await delay(seconds * 500)
  const { cores } = toShares(before, control.usage())
  close()
  await control.end()
  return cores
}

const measureService = async () => {
  const service = await startService({ WAITERS_MAX: String(2 * followers) })
  const { commit, newest, close: closeDatabase } = database()
  try {
    await delay(1000)
    const received = Array.from({ length: followers }, () => 0)
    const request = toGet(service.url, '/api/v1/events', { accept: 'text/event-stream' })
    // The one whose events are read is neither the first nor the last that is woken.
    const first = await openCrowd({
      url: service.url,
      count: Math.floor(followers / 2),
      toRequest: () => request,
      onBytes: (index, bytes) => { received[1 + index] = (received[1 + index] ?? 0) + bytes.length }
    })
    const watched = await openClient(service.url, bytes => {
      received[0] = (received[0] ?? 0) + bytes.length
      noteLateness(bytes)
    })
    watched.write(request)
    const rest = Math.ceil(followers / 2) - 1
    const others = await openCrowd({
      url: service.url,
      count: rest,
      toRequest: () => request,
      onBytes: (index, bytes) => {
        const at = followers - rest + index
        received[at] = (received[at] ?? 0) + bytes.length
      }
    })
    await changeFor(warmUpMs, commit)
    await delay(1000)
    received.fill(0)
    isMeasured = true
    const before = service.usage()
    await changeFor(seconds * 1000, commit)
    const after = service.usage()
    // Pings are less than a thousandth of it.
    const isLevel = () => newestSeen === newest() && Math.min(...received) > 0.999 * Math.max(...received)
    while (!isLevel() && performance.now() < after.atMs + levelMsMax) await delay(1)
    const behindMs = performance.now() - after.atMs
    const bytesPerSecond = (received[0] ?? 0) * 1000 / (after.atMs - before.atMs)
    for (const close of [first, others]) close()
    watched.destroy()
    return {
      ...toShares(before, after),
      behindMs,
      isLevel: isLevel(),
      bytesPerSecond,
      rssBytes: service.rssBytes()
    }
  } finally {
    closeDatabase()
    await service.stop()
  }
}

const { cores, waited, behindMs, isLevel, bytesPerSecond, rssBytes } = await measureService()
const ofControl = await measureControl(bytesPerSecond)
printFigures(`${followers} followers at ${changesPerSecond} changes a second`, [
  { what: 'MB a second to all followers', value: bytesPerSecond * followers / 1e6, digits: 1 },
  { what: 'cores used by the service', value: cores, digits: 2, max: budgets.followersCores },
  { what: 'cores used by the control', value: ofControl, digits: 2 },
  { what: 'noticed after, P50 (ms)', value: quantile(lateness, 0.5), digits: 1 },
  { what: 'noticed after, P99 (ms)', value: quantile(lateness, 0.99), digits: 1 },
  { what: 'until the last follower had all (ms)', value: isLevel ? behindMs : Infinity, max: levelMsMax },
  { what: 'MiB of the service', value: rssBytes / 1024 / 1024 }
], waited)
