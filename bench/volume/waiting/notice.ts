import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { waitingBudgets as budgets } from '../../budgets.ts'
import { tenant } from '../../datasets.ts'
import { startLoad } from '../../load.ts'
import { startRedis } from '../../servers.ts'
import { databasePath, startService } from '../service.ts'
import { openCrowd, toGet, toPost } from './clients.ts'
import { printFigures, quantile, toShares } from './figures.ts'

/*
 * Two processes on one database and one Redis. 10,000 clients wait at one of them while the other one is asked to
 * cancel 500 jobs a second; a fifth as many wait at that other one, as the control. Measures how soon they hear of it,
 * from the moment the request to cancel is sent: the commit and its exposure are part of it.
 *
 * WAITERS changes their number.
 */

const waiters = Number(process.env.WAITERS ?? '10000')
const controlEach = 5
const endsPerSecond = 500
const connections = 50
// Of the ends; the first ones meet code that has not been compiled.
const warmUpShare = 0.05

const addJobs = (): void => {
  const database = new SqliteDatabase(databasePath)
  database.pragma('synchronous = OFF')
  database.exec(`INSERT INTO JobExecutionLog (jobId, status, tenant, submittedBy)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${waiters - 1})
    SELECT 'job-' || i, 'Queued', '${tenant}', '${tenant}' FROM n`)
  database.close()
}

const redis = await startRedis()
const env = { REDIS_URL: redis.url, WAITERS_MAX: String(2 * waiters) }
const ending = await startService(env)
const other = await startService(env)

const askedAt = new Map<number, number>()
const createNotices = (count: number) => {
  const pending = new Set(Array.from({ length: count }, (_, index) => index))
  const lateness: number[] = []
  return {
    lateness,
    missing: () => pending.size,
    // What arrives before its job is asked to end is no notice.
    onBytes: (toIndex: (client: number) => number) => (client: number): void => {
      const at = askedAt.get(toIndex(client))
      if (at === undefined || !pending.delete(client)) return
      if (toIndex(client) >= warmUpShare * waiters) lateness.push(performance.now() - at)
    }
  }
}

try {
  addJobs()
  await delay(1000)
  const toIndex = (client: number) => client
  const toControlIndex = (client: number) => client * controlEach
  const notices = createNotices(waiters)
  const controls = createNotices(Math.ceil(waiters / controlEach))
  const toWait = (url: string) => (index: number) => toGet(url, `/api/v1/jobs/job-${index}?wait=55`)
  const closeAll = [
    await openCrowd({
      url: other.url, count: waiters, toRequest: toWait(other.url), onBytes: notices.onBytes(toIndex)
    }),
    await openCrowd({
      url: ending.url,
      count: controls.missing(),
      toRequest: client => toWait(ending.url)(toControlIndex(client)),
      onBytes: controls.onBytes(toControlIndex)
    })
  ]
  const before = [ending.usage(), other.usage()] as const
  let asked = 0
  const load = startLoad({
    url: ending.url,
    connections,
    rate: endsPerSecond,
    nextRequest: () => {
      const index = asked++
      // The load goes on for a moment.
      if (index >= waiters) return toGet(ending.url, '/livez')
      askedAt.set(index, performance.now())
      return toPost(ending.url, `/api/v1/jobs/job-${index}/cancel`)
    },
    expectedStatus: 200
  })
  while (asked < waiters) await delay(10)
  const after = [ending.usage(), other.usage()] as const
  await load.stop()
  const until = performance.now() + 10_000
  while (notices.missing() + controls.missing() > 0 && performance.now() < until) await delay(10)
  const [same, ofOther] = [toShares(before[0], after[0]), toShares(before[1], after[1])]
  const toFigures = (where: string, lateness: readonly number[], max: number) => [
    { what: `noticed at the ${where} process, P50 (ms)`, value: quantile(lateness, 0.5), digits: 1 },
    { what: `noticed at the ${where} process, P99 (ms)`, value: quantile(lateness, 0.99), digits: 1, max, isTime: true }
  ]
  printFigures(`${waiters} long polls, ${endsPerSecond} ends a second by another process`, [
    ...toFigures('other', notices.lateness, budgets.noticeBetweenMs),
    ...toFigures('same', controls.lateness, budgets.noticeMs),
    { what: 'cores used by the other process', value: ofOther.cores, digits: 2 },
    { what: 'cores used by the same process', value: same.cores, digits: 2 },
    { what: 'requests that failed', value: load.failures().errors + load.failures().unexpected },
    { what: 'never noticed', value: notices.missing() + controls.missing(), max: 0 }
  ], Math.max(same.waited, ofOther.waited))
  for (const close of closeAll) close()
} finally {
  await ending.stop({ isKept: true })
  await other.stop()
  await redis.stop()
}
