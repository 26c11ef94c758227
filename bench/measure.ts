import { setTimeout as delay } from 'node:timers/promises'
import { type Load, type LoadCounts, type LoadFailures, startLoad } from './load.ts'
import type { LoadMode } from './result.ts'
import type { RedisUsage } from './servers.ts'
import type { RunningTarget } from './targets.ts'

/*
 * One measurement: the load on one server for some seconds, and its cost for that server.
 */

export type Durations = {
  rounds: number
  warmUpSeconds: number
  capacitySeconds: number
  latencySeconds: number
}

/** One round of one target in one mode. */
export type Sample = {
  mode: LoadMode
  counts: LoadCounts & LoadFailures
  /** CPU of the whole server process in microseconds per response, while responses were counted. */
  cpuPerRequest: number | null
  /** CPU of the server process as a share of one core. */
  serverUtilization: number | null
  /** Share of the time that the server was ready to run but had no core. */
  serverWaited: number | null
  storeReadsPer1000: number | null
  redisCommandsPerRequest: number | null
  /** CPU of the Redis process in microseconds per response, while the load lasted. */
  redisCpuPerRequest: number | null
  redisBytesPerRequest: number | null
  /** Requests per second of the concurrent second load (`beside`). */
  besidePerSecond: number | null
  /** Reasons why the whole run is invalid, one per line. */
  invalid: string[]
  /** Reasons why this round does not count, one per line. */
  dropped: string[]
}

/** The destination of a load: a server of this run or a deployed service. */
export type Destination = {
  url: string
  expectedStatus: number
  rate: number
}

const capacityConnections = 50
// Many connections, so that a request rarely waits for the previous response.
const latencyConnections = 100
const rampSeconds = 0.15
const samplesMin = 100
const busyMax = 0.9
const besideShareMin = 0.9

const startLoadOn = (
  { url, expectedStatus, rate }: Destination, mode: LoadMode, nextRequest: () => Buffer
): Load => startLoad({
  url,
  nextRequest,
  expectedStatus,
  connections: mode === 'capacity' ? capacityConnections : Math.min(rate, latencyConnections),
  rate: mode === 'capacity' ? null : rate
})

const toFlaws = (
  what: string, { errors, unexpected, statusCodes }: LoadCounts & LoadFailures, expectedStatus: number
): string[] => [
  ...(errors > 0 ? [`${what}: ${errors} requests without a response`] : []),
  ...(unexpected > 0
    ? [`${what}: ${unexpected} responses were not ${expectedStatus}: ${JSON.stringify(statusCodes)}`]
    : [])
]

const toDropped = (mode: LoadMode, { answered, generatorUtilization }: LoadCounts): string[] => [
  ...(answered < samplesMin ? [`only ${answered} samples`] : []),
  ...(mode === 'latency' && generatorUtilization > busyMax
    ? [`the generator was busy for ${(generatorUtilization * 100).toFixed(0)} % of the time`]
    : [])
]

/** Measures a deployed service, of which only the responses are known. */
export const measureLatency = async (
  target: Destination, nextRequest: () => Buffer, seconds: number
): Promise<Sample> => {
  const load = startLoadOn(target, 'latency', nextRequest)
  await delay(rampSeconds * 1000)
  load.begin()
  await delay(seconds * 1000)
  const counted = load.end()
  await load.stop()
  const counts = { ...counted, ...load.failures() }
  return {
    mode: 'latency',
    counts,
    cpuPerRequest: null,
    serverUtilization: null,
    serverWaited: null,
    storeReadsPer1000: null,
    redisCommandsPerRequest: null,
    redisCpuPerRequest: null,
    redisBytesPerRequest: null,
    besidePerSecond: null,
    invalid: toFlaws('latency', counts, target.expectedStatus),
    dropped: toDropped('latency', counts)
  }
}

type Beside = { perSecond: number | null } & Pick<Sample, 'invalid' | 'dropped'>

type BesideLoad = { begin: () => void, end: () => Promise<Beside> }

const startBeside = async ({ target, server, createRequest }: RunningTarget): Promise<BesideLoad> => {
  if (target.beside === undefined) {
    return { begin: () => {}, end: () => Promise.resolve({ perSecond: null, invalid: [], dropped: [] }) }
  }
  const { requests, rate } = target.beside
  const load = startLoadOn({ url: server.url, expectedStatus: 200, rate }, 'latency', await createRequest(requests))
  return {
    begin: load.begin,
    end: async () => {
      const counted = load.end()
      await load.stop()
      const perSecond = counted.answered / counted.seconds
      return {
        perSecond,
        invalid: toFlaws(requests.kind, { ...counted, ...load.failures() }, 200),
        dropped: perSecond < rate * besideShareMin
          ? [`${requests.kind}: ${perSecond.toFixed(0)} of ${rate} requests per second`]
          : []
      }
    }
  }
}

const injectFault = async ({ target, redis }: RunningTarget): Promise<void> => {
  if (target.fault === 'redis-killed') await redis?.kill()
}

const repair = async ({ target, redis }: RunningTarget): Promise<void> => {
  if (target.fault === 'redis-killed') await redis?.restart()
}

const difference = (after: number | null, before: number | null): number | null =>
  after === null || before === null ? null : after - before

/**
 * Loads a running server for some seconds. The CPU is read while the load continues, so that no idle time is
 * included.
 */
export const measure = async (
  running: RunningTarget, mode: LoadMode, nextRequest: () => Buffer, seconds: number
): Promise<Sample> => {
  const { target, server } = running
  if (target.server === 'service' && ['redis', 'redis-cluster'].includes(target.cache)) await running.untilCached()
  const before = await running.counters()
  const load = startLoadOn({ url: server.url, ...target }, mode, nextRequest)
  const beside = await startBeside(running)
  await delay(rampSeconds * 1000)
  const from = await server.cpu()
  load.begin()
  beside.begin()
  await delay(seconds * 500)
  await injectFault(running)
  await delay(seconds * 500)
  const to = await server.cpu()
  const counted = load.end()
  const besides = await beside.end()
  await load.stop()
  const after = await running.counters()
  await repair(running)

  const counts = { ...counted, ...load.failures() }
  const answered = load.answeredSoFar()
  const storeReads = difference(after.storeReads, before.storeReads)
  const trips = difference(after.cacheTrips, before.cacheTrips)
  const ofRedis = (figure: keyof RedisUsage): number | null => {
    const used = difference(after.redis?.[figure] ?? null, before.redis?.[figure] ?? null)
    return used === null ? null : used / answered
  }
  const cpuMicros = to.cpuMicros - from.cpuMicros
  return {
    mode,
    counts,
    cpuPerRequest: cpuMicros / counts.answered,
    serverUtilization: cpuMicros / 1000 / (to.atMs - from.atMs),
    serverWaited: (to.waitedMs - from.waitedMs) / (to.atMs - from.atMs),
    storeReadsPer1000: storeReads === null ? null : storeReads * 1000 / answered,
    redisCommandsPerRequest: ofRedis('commands'),
    redisCpuPerRequest: ofRedis('cpuMicros'),
    redisBytesPerRequest: ofRedis('bytesSent'),
    besidePerSecond: besides.perSecond,
    invalid: [
      ...(target.fault === undefined ? toFlaws(`${target.name}, ${mode}`, counts, target.expectedStatus) : []),
      ...besides.invalid
    ],
    dropped: [
      ...toDropped(mode, counts),
      ...besides.dropped,
      // The machine was too busy for Redis to respond in time, and reads without the cache are another scenario.
      ...(target.fault === undefined && trips !== null && trips > 0
        ? ['the cache failed, and the service continued without it']
        : [])
    ]
  }
}
