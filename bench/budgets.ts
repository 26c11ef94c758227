/*
 * What the figures are held against. Absolute bounds hold on any machine that is fit to serve; the rest are ratios to
 * controls and peers of the same run, so that the machine cancels out. CPU and counts gate; ratios of times are shown
 * only, for they depend on who else uses the cores.
 *
 * Without `quick` a rule is left out of the quick run, whose short rounds share the machine with others. Ratios to peers
 * are of CPU, as what one core could answer: where the generator is the limit, requests per second say too little.
 */

export type Figure =
  | 'p95'
  | 'p99'
  /** Requests without an answer, or with another status code than expected. */
  | 'errors'
  | 'storeReads'
  | 'redisCommands'
  | 'cpu'
  /** Answers per second of server CPU. */
  | 'capacity'
  | 'requestsPerSecond'
  /** CPU of the reads' share: of the whole, less what as many writes cost in the target `writes alone`. */
  | 'cpuOfReads'

export type Rule = {
  figure: Figure
  /** The other target of a ratio; without it the bound is absolute. */
  to?: string
  /** At most, or at least. */
  max?: number
  min?: number
  /** The bound in the quick run. */
  quick?: number
  /** Shown, never gates. */
  isReported?: true
}

/** For every scenario, and the only ones for a deployed service. P95 in ms at the fixed rate. */
export const ceilings: readonly Rule[] = [
  { figure: 'p95', max: 50, quick: 50 },
  { figure: 'errors', max: 0, quick: 0 }
]

const timesToBare: readonly Rule[] = [{ figure: 'p95', to: 'bare', max: 2, isReported: true }]

/** What a cached read may cost behind the service: a running job is read again every 2 s, for all who poll it. */
const cachedReads: readonly Rule[] = [{ figure: 'storeReads', max: 1, quick: 1 }]
/** The reads of one moment travel together; one alone is one command. */
const pipelined: readonly Rule[] = [{ figure: 'redisCommands', max: 0.25, quick: 0.5 }]

/** What the CPU of a kind of read is to come to, as a multiple of the bare route's; shown beside the bound that gates. */
const aim = (max: number): Rule => ({ figure: 'cpu', to: 'bare', max, isReported: true })

/*
 * The bounds of CPU leave room for the machine: between processes started minutes apart on two shared cores the same
 * reads differ by a third, most of it in the kernel, which takes 14 of the 23 microseconds of a bare route. On a machine
 * whose kernel is faster a bare route takes 10, and what is the service's own, most of a cold read, weighs more.
 */
export const budgets: Readonly<Record<string, readonly Rule[]>> = {
  cached: [
    { figure: 'cpu', to: 'bare', max: 2.2, quick: 3 },
    aim(1.6),
    ...cachedReads,
    ...pipelined,
    // The aims are 4 and 6. Express with a prepared statement and a key object, as a careful engineer writes it, takes
    // about 5 times the CPU of a bare route, so not even a bare route is 6 times as fast.
    { figure: 'capacity', to: 'bullmq', min: 2.2 },
    { figure: 'capacity', to: 'express', min: 2.5 },
    { figure: 'capacity', to: 'pg-boss', min: 4, isReported: true },
    { figure: 'requestsPerSecond', to: 'bullmq', min: 4, isReported: true },
    { figure: 'requestsPerSecond', to: 'express', min: 6, isReported: true },
    ...timesToBare
  ],
  'cached-many': [{ figure: 'cpu', to: 'bare', max: 2.5 }, aim(1.6), { figure: 'storeReads', max: 1 }, ...pipelined, ...timesToBare],
  'cached-task': [{ figure: 'cpu', to: 'bare', max: 2.2 }, aim(1.6), ...cachedReads, ...pipelined, ...timesToBare],
  'not-modified': [{ figure: 'cpu', to: 'bare', max: 2, quick: 3 }, aim(1.5), ...cachedReads, ...pipelined, ...timesToBare],
  absent: [{ figure: 'cpu', to: 'bare', max: 3.6 }, ...cachedReads, ...pipelined, ...timesToBare],
  unauthenticated: [
    // Every refusal is a line of the log.
    { figure: 'cpu', to: 'bare', max: 7 },
    { figure: 'storeReads', max: 0 },
    // The service's own watch asks now and then.
    { figure: 'redisCommands', max: 0.01 },
    ...timesToBare
  ],
  memory: [{ figure: 'cpu', to: 'bare', max: 1.8, quick: 2.5 }, aim(1.2), ...cachedReads, ...timesToBare],
  cold: [
    { figure: 'cpu', to: 'bare', max: 7, quick: 10 },
    aim(3),
    { figure: 'storeReads', max: 1001, quick: 1001 },
    // Of the seven of one alone: a look, a lease and an exposure, the latter two scripts of two commands each, some in company.
    { figure: 'redisCommands', max: 5.5, quick: 7.05 },
    ...timesToBare
  ],
  'redis-down': [
    { figure: 'cpu', to: 'bare', max: 2, quick: 3 },
    aim(1.5),
    { figure: 'storeReads', max: 1001, quick: 1001 },
    { figure: 'p99', to: 'healthy', max: 2, isReported: true },
    ...timesToBare
  ],
  'redis-killed': [],
  writes: [
    { figure: 'cpuOfReads', to: 'reads alone', max: 1.3 },
    { figure: 'p95', to: 'reads alone', max: 2, isReported: true }
  ],
  bulk: [
    { figure: 'cpu', to: 'bare', max: 40 },
    { figure: 'storeReads', max: 100 },
    { figure: 'redisCommands', max: 3 }
  ],
  rows: [
    { figure: 'cpu', to: '10 k rows', max: 1.15 },
    { figure: 'storeReads', max: 1001 },
    { figure: 'p95', to: '10 k rows', max: 2, isReported: true }
  ],
  tokens: [{ figure: 'cpu', to: 'bare', max: 2.4 }, ...cachedReads, ...pipelined, ...timesToBare]
}
