/*
 * The result of a run: one JSON file, from which all reports are made. The number is raised when a field is removed or
 * changes its meaning. A reader rejects other numbers.
 */
export const resultSchema = 1

/**
 * `capacity`: a closed loop, as fast as the connections allow. `latency`: a fixed rate, corrected for coordinated
 * omission.
 */
export type LoadMode = 'capacity' | 'latency'

/**
 * The figures of one target under one load: the median of the valid rounds, or their best in a quick run. Times are in
 * microseconds.
 */
export type Measurement = {
  /** `service`, or the name of the control or peer. */
  target: string
  mode: LoadMode
  rounds: number
  requests: number
  requestsPerSecond: number
  /** True if the generator, not the server, was the limit: the server can answer at least this many requests. */
  isLowerBound: boolean
  p50: number
  p95: number
  p99: number
  p999: number
  max: number
  /** Latencies of all rounds: an HdrHistogram of microseconds, V2, base64. */
  histogram: string
  /** User and system time of the whole process in microseconds; null if the server was not started by this run. */
  serverCpuPerRequest: number | null
  /** CPU of the server as a share of one core. */
  serverUtilization: number | null
  /** Share of the time that the server was ready to run but had no core. */
  serverWaited?: number | null
  generatorUtilization: number
  /** Requests without a response or with an unexpected status code, of all rounds. */
  errors: number
  /** Number of responses by status code. */
  statusCodes: Record<string, number>
  storeReadsPer1000: number | null
  redisCommandsPerRequest: number | null
  /** CPU of the Redis process in microseconds, and the bytes that it sent. */
  redisCpuPerRequest?: number | null
  redisBytesPerRequest?: number | null
  /** Requests per second of the concurrent second load, which the other figures do not include. */
  besidePerSecond?: number | null
}

/** The outcome of one rule of the budgets. */
export type Verdict = {
  scenario: string
  /** The bounded figure in words: `CPU per request, ratio to bare`. */
  rule: string
  bound: number
  /** `max`: the bound is an upper one; `min`: a lower one. */
  direction: 'max' | 'min'
  actual: number | null
  unit: string
  /** `reported`: shown only, never fails a run. */
  outcome: 'kept' | 'broken' | 'reported'
}

export type ScenarioResult = {
  name: string
  title: string
  measurements: Measurement[]
  /** Reasons why the run is invalid, one per line; empty if it is valid. */
  invalid: string[]
  /** Whether the scenario was run again because of a breach. */
  confirmed: boolean
  /** Peers that could not be measured on this machine, with the reason, one per line. */
  absent?: string[]
}

export type SuiteResult = {
  schema: typeof resultSchema
  startedAt: string
  seconds: number
  mode: 'full' | 'quick' | 'remote'
  commit: string | null
  machine: { cpu: string, cores: number, memoryGiB: number, platform: string }
  versions: Record<string, string>
  scenarios: ScenarioResult[]
  verdicts: Verdict[]
  /** `passed`: exit 0; `breach`: 99; `invalid`: 2. */
  outcome: 'passed' | 'breach' | 'invalid'
}
