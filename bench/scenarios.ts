import type { LoadMode } from './result.ts'

/*
 * What is measured, as data. A scenario has targets, each a server of its own on a fresh dataset, that are loaded in turns:
 * the service, and what its figures are held against. The bounds are in budgets.ts.
 */

/** Which requests are sent. */
export type Requests =
  /** One running job, again and again. */
  | { kind: 'status', view: 'v1' | 'task' }
  /** Finished jobs, one after the other: their entries live long, and no two polls are for the same one. */
  | { kind: 'finished' }
  /** The first with the ETag that the service gave. */
  | { kind: 'not-modified' }
  | { kind: 'absent' }
  | { kind: 'unauthenticated' }
  /** So many jobs, spread over all rows, one after the other: none is asked for again while its entry lives. */
  | { kind: 'each', jobs: number }
  | { kind: 'bulk', jobs: number }
  /** One running job, by so many clients with a token each. */
  | { kind: 'tokens', tokens: number }
  /** Jobs that workers of this bench have claimed, one after the other. */
  | { kind: 'claimed' }
  /** A report of progress on each of these jobs in turn; every one makes a version. */
  | { kind: 'progress' }
  /** The only route of a control. */
  | { kind: 'control' }
  /** A job of a peer's own. */
  | { kind: 'peer' }

export type ServerName = 'service' | 'bare' | 'jwt' | 'bullmq' | 'express' | 'pg-boss'

/** What stands behind the service: `redis-down` is an address where nobody listens. */
export type Cache = 'memory' | 'redis' | 'redis-down'

export type Target = {
  /** `service` for what the scenario is about. */
  name: string
  server: ServerName
  cache: Cache
  rows: number
  requests: Requests
  expectedStatus: number
  modes: readonly LoadMode[]
  /** Requests a second in the mode `latency`. */
  rate: number
  /** Sent at the same time, at a rate of its own; its requests are not counted. */
  beside?: { requests: Requests, rate: number }
  /** What happens in the middle of each measurement. Its errors are judged by the budget; elsewhere they make a run invalid. */
  fault?: 'redis-killed'
}

export type Scenario = {
  name: string
  title: string
  /** Whether the quick run has it. */
  isQuick: boolean
  /** Whether it can be aimed at a deployed service. */
  isRemote: boolean
  targets: readonly Target[]
}

/** The promise is about this many requests a second. */
export const promisedRate = 2000

const service = (target: Pick<Target, 'requests'> & Partial<Target>): Target => ({
  name: 'service',
  server: 'service',
  cache: 'redis',
  rows: 10_000,
  expectedStatus: 200,
  modes: ['capacity', 'latency'],
  rate: promisedRate,
  ...target
})

const control = (server: 'bare' | 'jwt', modes: readonly LoadMode[] = ['capacity', 'latency']): Target =>
  service({ name: server, server, requests: { kind: 'control' }, modes })

const peer = (server: 'bullmq' | 'express' | 'pg-boss'): Target =>
  service({ name: server, server, requests: { kind: 'peer' } })

const oneJob: Requests = { kind: 'status', view: 'v1' }
const none = { isQuick: false, isRemote: false }

export const scenarios: readonly Scenario[] = [
  {
    name: 'cached',
    title: 'Cached read, v1 view, Redis',
    isQuick: true,
    isRemote: true,
    targets: [service({ requests: oneJob }), control('bare'), control('jwt'), peer('bullmq'), peer('express'), peer('pg-boss')]
  },
  {
    name: 'cached-many',
    title: 'Cached reads of 1,000 finished jobs, Redis',
    ...none,
    targets: [service({ requests: { kind: 'finished' } }), control('bare')]
  },
  {
    name: 'cached-task',
    title: 'Cached read, task view, Redis',
    isQuick: false,
    isRemote: true,
    targets: [service({ requests: { kind: 'status', view: 'task' } }), control('bare')]
  },
  {
    name: 'not-modified',
    title: '304 from the cache, Redis',
    isQuick: true,
    isRemote: true,
    targets: [service({ requests: { kind: 'not-modified' }, expectedStatus: 304 }), control('bare')]
  },
  {
    name: 'absent',
    title: 'Unknown id: 404',
    isQuick: false,
    isRemote: true,
    targets: [service({ requests: { kind: 'absent' }, expectedStatus: 404 }), control('bare')]
  },
  {
    name: 'unauthenticated',
    title: 'No token: 401',
    isQuick: false,
    isRemote: true,
    targets: [service({ requests: { kind: 'unauthenticated' }, expectedStatus: 401 }), control('bare')]
  },
  {
    name: 'memory',
    title: 'Cached read, cache in the process',
    isQuick: true,
    isRemote: false,
    targets: [service({ requests: oneJob, cache: 'memory' }), control('bare'), control('jwt', ['capacity'])]
  },
  {
    name: 'cold',
    title: 'Cold read: every poll another job, Redis up',
    isQuick: true,
    isRemote: false,
    // More than can be polled while an entry lives, which is 2 s.
    targets: [service({ requests: { kind: 'each', jobs: 100_000 }, rows: 100_000 }), control('bare')]
  },
  {
    name: 'redis-down',
    title: 'Redis down from the start',
    isQuick: true,
    isRemote: false,
    targets: [
      service({ requests: oneJob, cache: 'redis-down' }), control('bare'),
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
      service({ requests: { kind: 'claimed' }, modes: ['latency'], rate: 4500, beside: { requests: { kind: 'progress' }, rate: 500 } }),
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
    // The same number of jobs in both, at a rate at which no entry is met again.
    targets: [
      service({ requests: { kind: 'each', jobs: 10_000 }, rows: 10_000_000, modes: ['latency'] }),
      service({ name: '10 k rows', requests: { kind: 'each', jobs: 10_000 }, rows: 10_000, modes: ['latency'] })
    ]
  },
  {
    name: 'tokens',
    title: 'Cached read by 200 clients, a token each',
    ...none,
    targets: [service({ requests: { kind: 'tokens', tokens: 200 } }), control('bare')]
  }
]

/** What the quick run takes of them: the service, and the CPU of the bare route. */
export const quickScenarios: readonly Scenario[] = scenarios.filter(({ isQuick }) => isQuick).map(scenario => ({
  ...scenario,
  targets: scenario.targets.flatMap(target => {
    if (target.name === 'service') return [target]
    return target.name === 'bare' ? [{ ...target, modes: ['capacity'] }] : []
  })
}))
