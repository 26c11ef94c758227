import type fc from 'fast-check'
import type { StatusEntry } from '../../../src/job/status-entry.ts'
import type { StatusCache } from '../../../src/cache/status-cache.ts'
import type { Job, JobLookup } from '../../../src/job/job.ts'
import type { Schedule } from '../../../src/schedule.ts'
import type { Follower } from '../../../src/store/change-log.ts'
import { absent, entryAt } from '../../cache/conformance.ts'

/*
 * What the code under test stands on, each step of which waits until the scheduler chooses it.
 */

/** Waits to be chosen. */
export type Hop = (label: string) => Promise<void>

const arrived = Promise.resolve()
export const createHop = (scheduler: fc.Scheduler): Hop => label => scheduler.schedule(arrived, label)

/**
 * What happens to a command. `refused`: it never runs. `lost`: it runs, its reply does not come. `late`: it is given
 * up, and runs afterwards.
 */
export const fates = ['answered', 'refused', 'lost', 'late'] as const
export type Fate = typeof fates[number]

/** The way of one node to the server: every command travels there and back, and meets its fate. */
export const createNetwork = ({
  hop, nextFate, onEvent
}: { hop: Hop, nextFate: () => Fate, onEvent: (event: string) => void }) => {
  let connection = 0
  let isUp = true

  const send = async <Value>(name: string, command: () => Promise<Value>): Promise<Value> => {
    const given = connection
    const isThere = () => isUp && connection === given
    const check = () => { if (!isThere()) throw new Error(`${name}: connection lost`) }
    await hop(`${name} arrives`)
    check()
    const fate = nextFate()
    if (fate !== 'answered') onEvent(fate)
    if (fate === 'late') void hop(`${name} runs late`).then(async () => { if (isThere()) await command() })
    if (fate === 'refused' || fate === 'late') throw new Error(`${name}: ${fate}`)
    const value = await command()
    await hop(`${name} answers`)
    check()
    if (fate === 'lost') throw new Error(`${name}: lost`)
    return value
  }

  return {
    send,
    /** Commands under way fail, and never run any more. */
    cut: () => { isUp = false },
    mend: () => {
      connection++
      isUp = true
    }
  }
}

export type Network = ReturnType<typeof createNetwork>

/**
 * A cache behind a network; `isAtHand`: what it holds can be seen without asking. What is done to many cells is no more
 * atomic than it has to be.
 */
export const createDistantCache = (
  { network, hop, isAtHand }: { network: Network, hop: Hop, isAtHand: boolean }, cache: StatusCache
): StatusCache => ({
  ...cache,
  get: isAtHand ? cache.get : (epoch, jobId) => network.send(`get ${jobId}`, async () => await cache.get(epoch, jobId)),
  getMany: (epoch, jobIds) => network.send('get many', () => cache.getMany(epoch, jobIds)),
  lease: (epoch, jobId, token) => network.send(`lease ${jobId}`, () => cache.lease(epoch, jobId, token)),
  expose: (epoch, entry, token) => network.send(
    `expose ${entry.jobId} v${entry.version}`, () => cache.expose(epoch, entry, token)
  ),
  exposeMany: (epoch, entries) => network.send('expose many', async () => {
    for (const entry of entries) {
      await hop(`expose ${entry.jobId} v${entry.version} of many`)
      await cache.expose(epoch, entry, null)
    }
  }),
  invalidate: (epoch, jobId, version) => network.send(
    `invalidate ${jobId} v${version}`, () => cache.invalidate(epoch, jobId, version)
  )
})

const jobAt = (jobId: string, version: number): Job => ({
  jobId,
  version,
  tenant: null,
  submittedBy: null,
  type: null,
  createdAt: 0,
  startedAt: 0,
  attempt: 1,
  progress: { percent: 0, done: null, total: null, stage: null, message: null, etaSeconds: null },
  state: 'running',
  cancelRequestedAt: null,
  hasPartialResult: false
})

export const toEntry = (lookup: JobLookup): StatusEntry => {
  if (lookup.kind === 'absent') return { ...absent, jobId: lookup.jobId }
  if (lookup.kind !== 'job') throw new Error(`no ${lookup.kind} here`)
  return entryAt(lookup.job.version, { jobId: lookup.job.jobId })
}

/** What a read of the store may fail with. */
export const storeDown = new Error('the store is down')

/** The record: a version for each job, and a log of them. */
export const createRecord = () => {
  const log: Array<{ jobId: string, version: number }> = []
  const versionOf = (jobId: string): number => log.findLast(change => change.jobId === jobId)?.version ?? 0
  const follow = (): Follower => {
    let position = log.length
    let pageEnd = position
    return {
      next: async limit => {
        const changes = log.slice(position, position + limit).map(change => ({
          ...change, cursor: String(change.version), readersBefore: null, readersAfter: null
        }))
        pageEnd = position + changes.length
        return { changes, isGap: false, isLast: changes.length < limit }
      },
      accept: () => { position = pageEnd },
      cursor: () => String(log[position - 1]?.version ?? 0)
    }
  }
  const lookUp = (jobId: string): JobLookup => {
    const version = versionOf(jobId)
    return version === 0 ? { kind: 'absent', jobId } : { kind: 'job', job: jobAt(jobId, version) }
  }
  return {
    versionOf,
    lookUp,
    newest: () => log.length,
    /** Follows the log from after its newest change. */
    follow,
    commit: (jobId: string): JobLookup => {
      log.push({ jobId, version: log.length + 1 })
      return lookUp(jobId)
    }
  }
}

/** The record, each read of which takes a while and may fail. */
export const createStore = (hop: Hop, outages: readonly boolean[], onFailure: () => void) => {
  const record = createRecord()
  const ahead = [...outages]
  const ask = async <Value>(name: string, query: () => Value): Promise<Value> => {
    await hop(`${name} begins`)
    const value = query()
    await hop(`${name} ends`)
    if (ahead.shift() === true) {
      onFailure()
      throw storeDown
    }
    return value
  }
  return {
    record,
    find: (jobId: string) => ask(`find ${jobId}`, () => record.lookUp(jobId)),
    findVersion: (jobId: string) => ask(`find version of ${jobId}`, () => record.versionOf(jobId) || undefined),
    findVersions: (jobIds: readonly string[]) => ask('find versions', () =>
      new Map(jobIds.map(jobId => [jobId, record.versionOf(jobId)] as const).filter(([, version]) => version > 0)))
  }
}

/** A clock that the test moves, and timers that go off some time after they are due: when they are chosen. */
export const createTime = (hop: Hop) => {
  let clock = 0
  let timers: Array<{ dueAt: number, lag: number, work: () => void }> = []
  let dueCount = 0
  const goOff = async ({ lag, work }: { lag: number, work: () => void }) => {
    for (let step = 0; step < lag; step++) await hop('a timer lags')
    await hop('timer')
    dueCount--
    work()
  }
  return {
    now: () => clock,
    /** `lag`: how many steps a timer that is due has to wait for at least. */
    createSchedule: (lag: number): Schedule => (work, ms) => {
      let isCancelled = false
      timers.push({ dueAt: clock + ms, lag, work: () => { if (!isCancelled) work() } })
      return { cancel: () => { isCancelled = true } }
    },
    /** So long, and at least until the next timer is due, unless one that is has not gone off yet. */
    pass: (ms: number) => {
      const nextAt = dueCount > 0 || timers.length === 0 ? clock : Math.min(...timers.map(({ dueAt }) => dueAt))
      clock = Math.max(clock + ms, nextAt)
      const due = timers.filter(({ dueAt }) => dueAt <= clock)
      timers = timers.filter(({ dueAt }) => dueAt > clock)
      dueCount += due.length
      for (const timer of due) void goOff(timer)
    },
    isAwaited: () => dueCount + timers.length > 0
  }
}

export type Time = ReturnType<typeof createTime>
