import { setTimeout as delay } from 'node:timers/promises'
import autocannon from 'autocannon'
import type { Histogram } from 'hdr-histogram-js'
import { createHistogram, recordMs } from './statistics.ts'

/*
 * Load by autocannon, with two things of its client replaced, `_doRequest` and `getRequestBuffer`.
 *
 * When to send. Left alone, a connection sends as soon as it has its answer: the closed loop. autocannon's own fixed rate
 * lets each connection send its share of a second at once, all at the same moment, and then rest: 2,000 requests a second
 * are one burst a second, and the latencies those of the burst. Here requests become due evenly, to the millisecond, on
 * one connection after the other.
 *
 * Coordinated omission. A request that is due while its connection still waits for an answer is sent afterwards, but its
 * time counts from when it was due. So none is missing from the figures because an answer was slow, and none has to be
 * made up, as autocannon does in its histogram of whole milliseconds. With many connections few requests wait.
 *
 * What to send. The requests are built beforehand: autocannon would build each one anew, and keeps a copy of its options,
 * with all requests in it, for every connection.
 */

/** A request as it goes over the wire; each call may return another. */
export type NextRequest = () => Buffer

export type LoadOptions = {
  url: string
  connections: number
  /** Requests a second, on all connections together; null: as many as the connections allow. */
  rate: number | null
  nextRequest: NextRequest
  expectedStatus: number
  /** Told of every answer, counted or not. */
  onAnswer?: (status: number, ms: number) => void
}

/** What was counted between `begin` and `end`; `answered` counts all status codes. */
export type LoadCounts = {
  seconds: number
  answered: number
  /** Times in microseconds. */
  histogram: Histogram
  statusCodes: Record<string, number>
  /** Share of the time that this process, which sends the load, was busy. */
  generatorUtilization: number
}

/** What went wrong since the load began, counted or not. */
export type LoadFailures = {
  /** Requests without an answer: the connection broke, or it took too long. */
  errors: number
  /** Answers with another status code than the expected one. */
  unexpected: number
}

export type Load = {
  /** Forgets what was counted, and counts from now on. */
  begin: () => void
  /** How many answers there were since the load began, counted or not. */
  answeredSoFar: () => number
  /** What was counted since `begin`; does not stop the load. */
  end: () => LoadCounts
  /** Lets requests under way be answered, then ends. */
  stop: () => Promise<void>
  failures: () => LoadFailures
}

// What this module uses of autocannon's client, beyond its documentation. The lock file keeps the version.
type Client = {
  on: (event: 'response', listener: (status: number, bytes: number, durationMs: number) => void) => void
  _doRequest: () => void
  getRequestBuffer: () => Buffer
}

type Connection = { client: Client, send: () => void, isIdle: boolean, isWaiting: boolean, dueAt: number[], lateMs: number }

const tickMs = 1
const answersMsMax = 10_000
const sampleMs = 20

/** Makes requests due, evenly, on one connection after the other. */
const startPacing = (connections: readonly Connection[], rate: number, ask: (connection: Connection) => void): (() => void) => {
  const began = performance.now()
  let made = 0
  const timer = setInterval(() => {
    const now = performance.now()
    for (const due = Math.floor((now - began) * rate / 1000); made < due; made++) {
      const connection = connections[made % connections.length]
      if (connection === undefined) continue
      connection.dueAt.push(now)
      if (connection.isIdle) ask(connection)
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

/** Starts sending; nothing is counted before `begin`. */
export const startLoad = ({ url, connections: connectionCount, rate, nextRequest, expectedStatus, onAnswer }: LoadOptions): Load => {
  const counts = createCounts(expectedStatus)
  const connections: Connection[] = []
  let isStopping = false

  const ask = (connection: Connection): void => {
    const dueAt = rate === null ? undefined : connection.dueAt.shift()
    connection.isIdle = isStopping || (rate !== null && dueAt === undefined)
    if (connection.isIdle) return
    connection.lateMs = dueAt === undefined ? 0 : performance.now() - dueAt
    connection.isWaiting = true
    connection.send()
  }

  const setupClient = (client: Client): void => {
    const connection: Connection = { client, send: client._doRequest.bind(client), isIdle: true, isWaiting: false, dueAt: [], lateMs: 0 }
    connections.push(connection)
    client.getRequestBuffer = nextRequest
    // Called for a new connection too, after a break or a time-out, which leave a request without an answer.
    client._doRequest = () => {
      if (connection.isWaiting) counts.fail()
      connection.isWaiting = false
      ask(connection)
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
    // Its own types know only what is documented.
    setupClient: setupClient as unknown as (client: autocannon.Client) => void
  })
  const stopPacing = rate === null ? () => {} : startPacing(connections, rate, ask)

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
      // Typed as one that does not wait.
      ;(run as unknown as { stop: () => void }).stop()
      await run
    }
  }
}
