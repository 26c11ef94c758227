import type { LoadMode } from './result.ts'

/*
 * The scenarios, as data. A scenario has targets: the service, and the servers that it is compared with. Each target is
 * a process of its own on a new dataset, and the targets are loaded in turns. The bounds are in budgets.ts.
 */

/** The requests that are sent. */
export type Requests =
  /** Reads the same running job again and again. */
  | { kind: 'status', view: 'v1' | 'task' }
  /** Reads `jobs` running jobs at random, as many clients do that each wait for a job of their own. */
  | { kind: 'random', jobs: number }
  /** Reads finished jobs in turn: their cache entries live long, and consecutive reads are for different jobs. */
  | { kind: 'finished' }
  /** Reads the first job with its current ETag in If-None-Match. */
  | { kind: 'not-modified' }
  | { kind: 'absent' }
  | { kind: 'unauthenticated' }
  /** Reads `jobs` jobs in turn, spread over all rows: none is read again while its cache entry lives. */
  | { kind: 'each', jobs: number }
  | { kind: 'bulk', jobs: number }
  /** Reads one running job with `tokens` different tokens. */
  | { kind: 'tokens', tokens: number }
  /** Reads, in turn, jobs that the bench has claimed as a worker. */
  | { kind: 'claimed' }
  /** Reports progress on each of the claimed jobs in turn; each report creates a version. */
  | { kind: 'progress' }
  /** Requests the only route of a control. */
  | { kind: 'control' }
  /** Reads a job of a peer. */
  | { kind: 'peer' }
  /** Reads `jobs` jobs of a peer or of a control in turn. */
  | { kind: 'each-of-peer', jobs: number }

export type ServerName = 'service' | 'bare' | 'bare-same' | 'jwt' | 'point-read' | 'bullmq' | 'express' | 'pg-boss'

/**
 * The cache of the service. `redis-cluster` is a cluster of one master, `redis-down` an address on which no server
 * listens.
 */
export type Cache = 'memory' | 'redis' | 'redis-cluster' | 'redis-down'

export type Target = {
  /** `service` for the target that the scenario measures; the others are for comparison. */
  name: string
  server: ServerName
  cache: Cache
  /** The database of the service; a control or a peer has its own. */
  database: 'sqlite' | 'postgres'
  rows: number
  requests: Requests
  expectedStatus: number
  modes: readonly LoadMode[]
  /** Requests per second in the mode `latency`. */
  rate: number
  /** A second, concurrent load with its own rate. Its requests are not counted. */
  beside?: { requests: Requests, rate: number }
  /**
   * A fault in the middle of each measurement. Errors are then compared with the budget; without a fault they make the
   * run invalid.
   */
  fault?: 'redis-killed'
}

export type Scenario = {
  name: string
  title: string
  /** Whether the quick run includes it. */
  isQuick: boolean
  /** Whether it can run on a deployed service. */
  isRemote: boolean
  targets: readonly Target[]
}

/** The rate, in requests per second, for which the service promises its latency. */
export const promisedRate = 2000

const service = (target: Pick<Target, 'requests'> & Partial<Target>): Target => ({
  name: 'service',
  server: 'service',
  cache: 'redis',
  database: 'sqlite',
  rows: 10_000,
  expectedStatus: 200,
  modes: ['capacity', 'latency'],
  rate: promisedRate,
  ...target
})

const control = (server: 'bare' | 'jwt', modes: readonly LoadMode[] = ['capacity', 'latency']): Target =>
  service({ name: server, server, requests: { kind: 'control' }, modes })

/** What the answers of the service are compared with: a bare route with a static body, and one with their bytes. */
const bareRoutes = (expectedStatus = 200): Target[] => [
  control('bare'),
  service({
    name: 'bare-same', server: 'bare-same', requests: { kind: 'control' }, expectedStatus, modes: ['capacity']
  })
]

const peer = (server: 'bullmq' | 'express' | 'pg-boss'): Target =>
  service({ name: server, server, requests: { kind: 'peer' } })

const onPostgres = (target: Pick<Target, 'requests'> & Partial<Target>): Target =>
  service({ database: 'postgres', ...target })

const onSqlite = (target: Pick<Target, 'requests'> & Partial<Target>): Target => service({ name: 'sqlite', ...target })

const oneJob: Requests = { kind: 'status', view: 'v1' }
const distinctJobs: Requests = { kind: 'random', jobs: 200 }
const none = { isQuick: false, isRemote: false }
// More jobs than can be read in 2 s, the lifetime of a cache entry.
const coldRows = 100_000
const eachJob: Requests = { kind: 'each', jobs: coldRows }
const eachOfPeer: Requests = { kind: 'each-of-peer', jobs: coldRows }

export const scenarios: readonly Scenario[] = [
  {
    name: 'distinct',
    title: 'Cached reads of 200 running jobs at random, Redis',
    isQuick: true,
    isRemote: false,
    targets: [
      service({ requests: distinctJobs }), ...bareRoutes(),
      service({ name: 'one job', requests: oneJob, modes: ['capacity'] }),
      service({ name: 'in process', requests: distinctJobs, cache: 'memory', modes: ['capacity'] }),
      service({ name: 'cluster', requests: distinctJobs, cache: 'redis-cluster', modes: ['capacity'] })
    ]
  },
  {
    name: 'cached',
    title: 'Cached read, v1 view, Redis',
    isQuick: true,
    isRemote: true,
    targets: [
      service({ requests: oneJob }), ...bareRoutes(), control('jwt'), peer('bullmq'), peer('express'), peer('pg-boss')
    ]
  },
  {
    name: 'cached-many',
    title: 'Cached reads of 1,000 finished jobs, Redis',
    ...none,
    targets: [service({ requests: { kind: 'finished' } }), ...bareRoutes()]
  },
  {
    name: 'cached-task',
    title: 'Cached read, task view, Redis',
    isQuick: false,
    isRemote: true,
    targets: [service({ requests: { kind: 'status', view: 'task' } }), ...bareRoutes()]
  },
  {
    name: 'not-modified',
    title: '304 from the cache, Redis',
    isQuick: true,
    isRemote: true,
    targets: [service({ requests: { kind: 'not-modified' }, expectedStatus: 304 }), ...bareRoutes(304)]
  },
  {
    name: 'absent',
    title: 'Unknown id: 404',
    isQuick: false,
    isRemote: true,
    targets: [service({ requests: { kind: 'absent' }, expectedStatus: 404 }), ...bareRoutes(404)]
  },
  {
    name: 'unauthenticated',
    title: 'No token: 401',
    isQuick: false,
    isRemote: true,
    targets: [service({ requests: { kind: 'unauthenticated' }, expectedStatus: 401 }), ...bareRoutes(401)]
  },
  {
    name: 'memory',
    title: 'Cached read, cache in the process',
    isQuick: true,
    isRemote: false,
    targets: [service({ requests: oneJob, cache: 'memory' }), ...bareRoutes(), control('jwt', ['capacity'])]
  },
  {
    name: 'cold',
    title: 'Cold read: every poll another job, Redis up',
    isQuick: true,
    isRemote: false,
    targets: [service({ requests: eachJob, rows: coldRows }), ...bareRoutes()]
  },
  {
    name: 'postgres-cached',
    title: 'Postgres: cached read, v1 view, Redis',
    isQuick: true,
    isRemote: false,
    targets: [onPostgres({ requests: oneJob }), onSqlite({ requests: oneJob })]
  },
  {
    name: 'postgres-cold',
    title: 'Postgres: cold read, Redis up',
    ...none,
    targets: [
      onPostgres({ requests: eachJob, rows: coldRows }),
      onSqlite({ requests: eachJob, rows: coldRows }),
      service({ name: 'point-read', server: 'point-read', requests: eachOfPeer, rows: coldRows }),
      service({ name: 'pg-boss', server: 'pg-boss', requests: eachOfPeer, rows: coldRows })
    ]
  },
  {
    name: 'postgres-alone',
    title: 'Postgres: cold read, Redis down from the start',
    isQuick: true,
    isRemote: false,
    targets: [
      onPostgres({ requests: eachJob, rows: coldRows, cache: 'redis-down' }),
      onSqlite({ requests: eachJob, rows: coldRows, cache: 'redis-down' }),
      service({ name: 'point-read', server: 'point-read', requests: eachOfPeer, rows: coldRows })
    ]
  },
  {
    name: 'redis-down',
    title: 'Redis down from the start',
    isQuick: true,
    isRemote: false,
    targets: [
      service({ requests: oneJob, cache: 'redis-down' }), ...bareRoutes(),
      service({ name: 'healthy', requests: oneJob, modes: ['latency'] })
    ]
  },
  {
    name: 'redis-killed',
    title: 'Redis killed in mid-run',
    isQuick: true,
    isRemote: false,
    targets: [service({ requests: oneJob, modes: ['latency'], fault: 'redis-killed' })]
  },
  {
    name: 'writes',
    title: 'Reads with 10 % progress writes, 500/s',
    ...none,
    targets: [
      service({
        requests: { kind: 'claimed' },
        modes: ['latency'],
        rate: 4500,
        beside: { requests: { kind: 'progress' }, rate: 500 }
      }),
      service({ name: 'reads alone', requests: { kind: 'claimed' }, modes: ['latency'], rate: 4500 }),
      service({ name: 'writes alone', requests: { kind: 'progress' }, modes: ['latency'], rate: 500 })
    ]
  },
  {
    name: 'bulk',
    title: 'Bulk read of 100 ids',
    ...none,
    targets: [service({ requests: { kind: 'bulk', jobs: 100 }, rate: 100 }), control('bare', ['capacity'])]
  },
  {
    name: 'rows',
    title: 'Cold reads among 10 million rows',
    ...none,
    // Both read the same number of jobs, at a rate at which no job is read again while its entry lives.
    targets: [
      service({ requests: { kind: 'each', jobs: 10_000 }, rows: 10_000_000, modes: ['latency'] }),
      service({ name: '10 k rows', requests: { kind: 'each', jobs: 10_000 }, rows: 10_000, modes: ['latency'] })
    ]
  },
  {
    name: 'postgres-rows',
    title: 'Postgres: cold reads among 10 million rows',
    ...none,
    targets: [
      onPostgres({ requests: { kind: 'each', jobs: 10_000 }, rows: 10_000_000, modes: ['latency'] }),
      onPostgres({ name: '10 k rows', requests: { kind: 'each', jobs: 10_000 }, rows: 10_000, modes: ['latency'] })
    ]
  },
  {
    name: 'tokens',
    title: 'Cached read by 200 clients, a token each',
    ...none,
    targets: [service({ requests: { kind: 'tokens', tokens: 200 } }), ...bareRoutes()]
  }
]

const comparedInQuickRun = ['bare', 'bare-same', 'sqlite', 'point-read']

/** The targets of the quick run: the service, and what its CPU is compared with. */
export const quickScenarios: readonly Scenario[] = scenarios.filter(({ isQuick }) => isQuick).map(scenario => ({
  ...scenario,
  targets: scenario.targets.flatMap(target => {
    if (target.name === 'service') return [target]
    return comparedInQuickRun.includes(target.name) ? [{ ...target, modes: ['capacity'] }] : []
  })
}))
