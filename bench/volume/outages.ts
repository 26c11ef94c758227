import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { startLoad } from '../load.ts'
import { toRequest } from '../requests.ts'
import { startRedis } from '../servers.ts'
import { createHistogram, recordMs } from '../statistics.ts'
import { authorization, printTable, startService } from './service.ts'

/*
 * Polls at 500/s while Redis is healthy, down, so slow that a command takes seconds, or repeatedly restarted.
 * Measures the latencies, and whether all polls are answered. First with one process, then with two on one database.
 */

const rate = 500
const connections = 100
const seconds = 15
// Bound for one process, which waits for no other process.
const p99MsMax = 50

const redis = await startRedis()
const client = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: 0 })
client.on('error', () => {})

/** Injects a fault into Redis until `isOver` returns true. */
type Fault = (isOver: () => boolean) => Promise<void>

const untilOver = async (isOver: () => boolean, everyMs: number, work: () => Promise<unknown>): Promise<void> => {
  for (let due = performance.now(); !isOver(); due += everyMs) {
    await work()
    await delay(Math.max(0, due + everyMs - performance.now()))
  }
}

const faults: Record<string, Fault> = {
  healthy: () => Promise.resolve(),
  down: async isOver => {
    await redis.kill()
    await untilOver(isOver, 100, () => Promise.resolve())
    await redis.restart()
  },
  // Redis answers no client for 5 s, again and again.
  slow: isOver => untilOver(isOver, 4900, () => client.call('CLIENT', 'PAUSE', '5000', 'ALL')),
  flapping: isOver => untilOver(isOver, 1000, async () => {
    await redis.kill()
    await delay(500)
    await redis.restart()
  })
}

type Service = Awaited<ReturnType<typeof startService>>

const submit = async ({ url }: Service): Promise<string> => {
  const answer = await fetch(`${url}/api/v1/jobs`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: '{"type":"bench","input":null}'
  })
  return (await answer.json() as { jobId: string }).jobId
}

const untilCached = async (services: readonly Service[]): Promise<void> => {
  for (const { metric } of services) {
    while (await metric('job_status_cache_on') !== 1) await delay(100)
  }
}

const measure = async (services: readonly Service[], jobIds: readonly string[], fault: Fault) => {
  const histogram = createHistogram()
  const tripsBefore = await Promise.all(services.map(({ metric }) => metric('job_status_cache_trips_total')))
  let isOver = false
  const loads = services.map(({ url }) => {
    const polls = jobIds.map(jobId => toRequest('GET', url, `/api/v1/jobs/${jobId}`, { authorization }))
    let next = 0
    return startLoad({
      url,
      connections: connections / services.length,
      rate: rate / services.length,
      nextRequest: () => polls[next++ % polls.length] as Buffer,
      expectedStatus: 200,
      onAnswer: (_status, ms) => { recordMs(histogram, ms) }
    })
  })
  const injected = fault(() => isOver)
  await delay(seconds * 1000)
  isOver = true
  await Promise.all(loads.map(({ stop }) => stop()))
  await injected
  const failures = loads.map(({ failures }) => failures())
  const trips = await Promise.all(services.map(async ({ metric }, index) =>
    await metric('job_status_cache_trips_total') - (tripsBefore[index] ?? 0)))
  const bad = failures.reduce((sum, { errors, unexpected }) => sum + errors + unexpected, 0)
  return { histogram, bad, trips }
}

const ms = (micros: number): string => `${(micros / 1000).toFixed(1)} ms`

const runAll = async (services: readonly Service[]): Promise<void> => {
  const [first] = services
  if (first === undefined) return
  const jobIds = await Promise.all(Array.from({ length: 100 }, () => submit(first)))
  for (const [name, fault] of Object.entries(faults)) {
    await untilCached(services)
    const { histogram, bad, trips } = await measure(services, jobIds, fault)
    const what = `${services.length} process(es), Redis ${name}`
    printTable({
      [`${what}: p50, p99, max`]:
        [50, 99, 100].map(percentile => ms(histogram.getValueAtPercentile(percentile))).join(', '),
      [`${what}: responses, failures, cache trips`]: `${histogram.totalCount}, ${bad}, ${trips.join(' and ')}`
    })
    // Several processes may have to wait for each other once, for up to a lease.
    const isSlow = services.length === 1 && histogram.getValueAtPercentile(99) > p99MsMax * 1000
    if (bad > 0 || isSlow) process.exitCode = 1
  }
}

const start = (): Promise<Service> => startService({ LOG_LEVEL: 'info', REDIS_URL: redis.url })

const services = [await start()]
try {
  await runAll(services)
  services.push(await start())
  await runAll(services)
} finally {
  await Promise.all(services.map(({ stop }) => stop()))
  client.disconnect()
  await redis.stop()
}
