import { setTimeout as delay } from 'node:timers/promises'
import autocannon from 'autocannon'
import type { Histogram } from 'hdr-histogram-js'
import { createHistogram, recordMs } from './statistics.ts'

/*
 * Generates load with autocannon. Two methods of its client are replaced: `_doRequest` and `getRequestBuffer`.
 *
 * Pacing. By default a connection sends its next request when it receives a response (closed loop). With autocannon's
 * own fixed rate all connections send their share of a second at the same moment and then pause, so 2,000 requests
 * per second are one burst per second, and the latencies are those of the burst. Here requests become due at even
 * intervals, with a resolution of 1 ms, on one connection after the other.
 *
 * Coordinated omission. If a request becomes due while its connection waits for a response, it is sent afterwards,
 * and its latency counts from the time at which it was due. Slow responses therefore remove no requests from the
 * figures, and no latencies have to be estimated, as autocannon does in its histogram of whole milliseconds. With
 * many connections only few requests wait.
 *
 * Request bytes. Requests are built in advance: autocannon would build each one again when it sends it, and it keeps
 * a copy of its options, with all requests, for each connection.
 */

/** Returns the bytes of the next request to send. */
export type NextRequest = () => Buffer

export type LoadOptions = {
  url: string
  connections: number
  /** Requests per second of all connections together; null: as many as the connections allow (closed loop). */
  rate: number | null
  nextRequest: NextRequest
  expectedStatus: number
  /** Called for every response, counted or not. `ms` is its latency. */
  onAnswer?: (status: number, ms: number) => void
}

/** Counts between `begin` and `end`. `answered` includes all status codes. */
export type LoadCounts = {
  seconds: number
  answered: number
  /** Latencies in microseconds. */
  histogram: Histogram
  statusCodes: Record<string, number>
  /** Event-loop utilization of this process, which generates the load. */
  generatorUtilization: number
}

/** Failures since the load was started, including those outside `begin` and `end`. */
export type LoadFailures = {
  /** Requests without a response: the connection broke or the time-out expired. */
  errors: number
  /** Responses with an unexpected status code. */
  unexpected: number
}

export type Load = {
  /** Resets the counts and starts counting. */
  begin: () => void
  /** Number of responses since the load was started, counted or not. */
  answeredSoFar: () => number
  /** Stops counting and returns the counts since `begin`. The load continues. */
  end: () => LoadCounts
  /** Sends no more requests, waits for the pending responses and stops. */
  stop: () => Promise<void>
  failures: () => LoadFailures
}

// Undocumented parts of autocannon's client that this module uses. The lock file pins the version.
type Client = {
  on: (event: 'response', listener: (status: number, bytes: number, durationMs: number) => void) => void
  _doRequest: () => void
  getRequestBuffer: () => Buffer
}

type Connection = {
  client: Client
  send: () => void
  isIdle: boolean
  isWaiting: boolean
  /** When each request that was not sent yet became due. */
  dueAt: number[]
  lateMs: number
}

const tickMs = 1
const answersMsMax = 10_000
const sampleMs = 20

/** Makes requests due at even intervals, on one connection after the other. Returns a function that stops it. */
const startPacing = (
  connections: readonly Connection[], rate: number, sendNext: (connection: Connection) => void
): (() => void) => {
  const began = performance.now()
  let made = 0
  const timer = setInterval(() => {
    const now = performance.now()
    for (const due = Math.floor((now - began) * rate / 1000); made < due; made++) {
      const connection = connections[made % connections.length]
      if (connection === undefined) continue
      connection.dueAt.push(now)
      if (connection.isIdle) sendNext(connection)
    }
  }, tickMs)
  return () => { clearInterval(timer) }
}

const createCounts = (expectedStatus: number) => {
  let [isCounting, beganAt, answered, errors, unexpected] = [false, 0, 0, 0, 0]
  let histogram = createHistogram()
  let statusCodes: Record<string, number> = {}
  let busy = performance.eventLoopUtilization()
  return {
    answer: (status: number, ms: number): void => {
      answered++
      if (status !== expectedStatus) unexpected++
      if (!isCounting) return
      recordMs(histogram, ms)
      statusCodes[status] = (statusCodes[status] ?? 0) + 1
    },
    fail: (count = 1): void => { errors += count },
    answeredSoFar: () => answered,
    failures: (): LoadFailures => ({ errors, unexpected }),
    begin: (): void => {
      histogram = createHistogram()
      statusCodes = {}
      busy = performance.eventLoopUtilization()
      beganAt = performance.now()
      isCounting = true
    },
    end: (): LoadCounts => {
      const counted = {
        seconds: (performance.now() - beganAt) / 1000,
        answered: histogram.totalCount,
        histogram,
        statusCodes,
        generatorUtilization: performance.eventLoopUtilization(busy).utilization
      }
      isCounting = false
      return counted
    }
  }
}

/** Starts to send requests. Counting starts with `begin`. */
export const startLoad = (options: LoadOptions): Load => {
  const { url, connections: connectionCount, rate, nextRequest, expectedStatus, onAnswer } = options
  const counts = createCounts(expectedStatus)
  const connections: Connection[] = []
  let isStopping = false

  const sendNext = (connection: Connection): void => {
    const dueAt = rate === null ? undefined : connection.dueAt.shift()
    connection.isIdle = isStopping || (rate !== null && dueAt === undefined)
    if (connection.isIdle) return
    connection.lateMs = dueAt === undefined ? 0 : performance.now() - dueAt
    connection.isWaiting = true
    connection.send()
  }

  const setupClient = (client: Client): void => {
    const send = client._doRequest.bind(client)
    const connection: Connection = { client, send, isIdle: true, isWaiting: false, dueAt: [], lateMs: 0 }
    connections.push(connection)
    client.getRequestBuffer = nextRequest
    // Also called when the client reconnects after an error or a time-out, which leave a request without a response.
    client._doRequest = () => {
      if (connection.isWaiting) counts.fail()
      connection.isWaiting = false
      sendNext(connection)
    }
    client.on('response', (status, _bytes, durationMs) => {
      connection.isWaiting = false
      counts.answer(status, durationMs + connection.lateMs)
      onAnswer?.(status, durationMs + connection.lateMs)
    })
  }

  const run = autocannon({
    url,
    connections: connectionCount,
    duration: 86_400,
    sampleInt: sampleMs,
    timeout: answersMsMax / 1000,
    skipAggregateResult: true,
    // autocannon's types contain only the documented methods.
    setupClient: setupClient as unknown as (client: autocannon.Client) => void
  })
  const stopPacing = rate === null ? () => {} : startPacing(connections, rate, sendNext)

  return {
    begin: counts.begin,
    answeredSoFar: counts.answeredSoFar,
    end: counts.end,
    failures: counts.failures,
    stop: async () => {
      isStopping = true
      stopPacing()
      const end = performance.now() + answersMsMax
      while (connections.some(({ isWaiting }) => isWaiting) && performance.now() < end) await delay(tickMs)
      counts.fail(connections.filter(({ isWaiting }) => isWaiting).length)
      // The types omit `stop`.
      ;(run as unknown as { stop: () => void }).stop()
      await run
    }
  }
}
