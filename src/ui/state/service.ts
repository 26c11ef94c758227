/*
 * What `GET /api/v1/service` returns.
 */

type Quantiles = { count: number, p50: number, p95: number, p99: number }

/** The gauges of a process at one time. */
export type Sample = {
  at: string
  cacheMode: 'on' | 'warm' | 'off'
  isStoreUp: boolean
  queue: ReadonlyArray<{ type: string, queued: number, running: number, oldestSeconds: number | null }>
  claimsPerMinute: number
  endsPerMinute: number
  waitingClients: { longPolls: number, streams: number, feeds: number }
  noticeSeconds: Quantiles | null
  requestSeconds: Quantiles | null
}

type Health = { kind: string, status: string, since: string, reason: string | null }

/** What the service says of itself. */
export type ServiceState = {
  process: { id: string, startedAt: string, isDraining: boolean, workers: number }
  store: Health
  cache: Health & { mode: string }
  cacheHistory: ReadonlyArray<{ at: string, mode: string, reason: string | null }>
  redis: { kind: string, isReachable: boolean } | null
  current: Sample
  sampleSeconds: number
  samples: readonly Sample[]
}
