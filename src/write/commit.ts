import type { Job, JobLookup } from '../job/job.ts'
import type { JobEventType } from '../job/lifecycle.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { Expose } from '../status/expose.ts'
import type { Transact, Tx } from '../store/store.ts'

/**
 * A job as a transaction leaves it, and what happened to it. Without `event` the job is unchanged, and the answer
 * reveals its state.
 */
export type ChangedJob = { lookup: JobLookup, event?: JobEventType }

/**
 * What the work of a transaction returns. `changes` names each job that the transaction changed and each whose state
 * the answer reveals. `onExposeFailed` is called if the transaction was committed but could not be exposed: the caller
 * then gets an error and never learns the value.
 */
export type WorkResult<Changes extends readonly ChangedJob[], Value> =
  { changes: Changes, value: Value, onExposeFailed?: () => void }

type Entries<Changes extends readonly ChangedJob[]> = { [Index in keyof Changes]: StatusEntry }

/**
 * Runs work in one transaction, then exposes and reports its changes. Returns once all of that is done: the caller may
 * acknowledge. `entries` are the exposed entries in the order of `changes`. Throws what the work throws, and
 * STORE_UNAVAILABLE. The work may run more than once. `group` as for Transact.
 */
export type Commit = <const Changes extends readonly ChangedJob[], Value>(
  work: (tx: Tx) => Promise<WorkResult<Changes, Value>>, group?: string
) => Promise<{ entries: Entries<Changes>, value: Value }>

/** Called for each change of a job's state, after it was committed and exposed. */
export type OnTransition = (job: Job, event: JobEventType) => void

export type CommitNeeds = { transact: Transact, expose: Expose, onTransition: OnTransition }

/** What each command needs. `now` in ms since 1970. */
export type CommandNeeds = { commit: Commit, now: () => number }

// The job runs on: workers report these often, and they would drown the transitions in the log.
const keepsState = (event: JobEventType): boolean => event === 'progress' || event === 'append'

/*
 * The only place where a command reaches the store's transactions and the cache. The order is what coherence rests on:
 * commit, expose, report, acknowledge. An acknowledgement before the expose would let a later read find an older state
 * in the cache, and an expose before the commit would show a state that a crash takes back.
 */
export const createCommit = ({ transact, expose, onTransition }: CommitNeeds): Commit => async <
  const Changes extends readonly ChangedJob[], Value
>(work: (tx: Tx) => Promise<WorkResult<Changes, Value>>, group?: string) => {
  const { changes, value, onExposeFailed } = await transact(work, group)
  // Exposures that are asked for in the same turn share one round trip to Redis.
  const entries = await Promise.all(changes.map(({ lookup }) => expose(lookup))).catch((error: unknown) => {
    onExposeFailed?.()
    throw error
  })
  for (const { lookup, event } of changes) {
    if (lookup.kind === 'job' && event !== undefined && !keepsState(event)) onTransition(lookup.job, event)
  }
  return { entries: entries as Entries<Changes>, value }
}
