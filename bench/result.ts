/*
 * What a run of the suite leaves behind: one JSON file, from which every report is made. Raised when a field changes its
 * meaning or goes; a reader refuses another number.
 */
export const resultSchema = 1

/** `capacity`: as fast as the connections allow (closed loop). `latency`: at a fixed rate, corrected for coordinated omission. */
export type LoadMode = 'capacity' | 'latency'

/** What one target did under one load, in the median of the valid rounds; in a quick run, the best of them. Times in microseconds. */
export type Measurement = {
  /** `service`, or the name of the control or peer. */
  target: string
  mode: LoadMode
  rounds: number
  requests: number
  requestsPerSecond: number
  /** True where the generator, not the server, was the limit: the server can do at least this much. */
  isLowerBound: boolean
  p50: number
  p95: number
  p99: number
  p999: number
  max: number
  /** All rounds in one HdrHistogram of microseconds, V2, base64. */
  histogram: string
  /** Of the whole process, user and system; null where the server is not ours to ask. */
  serverCpuPerRequest: number | null
  /** Share of one core that the server used. */
  serverUtilization: number | null
  /** Share of the time that the server was ready to run, but others had the cores. */
  serverWaited?: number | null
  generatorUtilization: number
  /** Requests without an answer, or with another status code than expected; of all rounds. */
  errors: number
  /** Answers by status code. */
  statusCodes: Record<string, number>
  storeReadsPer1000: number | null
  redisCommandsPerRequest: number | null
  /** Requests per second of another kind that were sent meanwhile, and are not counted above. */
  besidePerSecond?: number | null
}

/** One rule of the budgets, held against what was measured. */
export type Verdict = {
  scenario: string
  /** What is bounded, in words: `CPU per request, ratio to bare`. */
  rule: string
  bound: number
  /** `max`: at most the bound; `min`: at least. */
  direction: 'max' | 'min'
  actual: number | null
  unit: string
  /** `reported`: shown, never gates. */
  outcome: 'kept' | 'broken' | 'reported'
}

export type ScenarioResult = {
  name: string
  title: string
  measurements: Measurement[]
  /** Why the run says nothing, one a line; empty when it is valid. */
  invalid: string[]
  /** Whether a breach made it run again. */
  confirmed: boolean
  /** Peers that could not be measured on this machine, and why, one a line. */
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
