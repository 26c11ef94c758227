import { isTerminal, type JobLookup } from '../job/job.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { Tx } from '../store/store.ts'
import { deleteJob, findJob, lockJob } from '../store/tx/jobs.ts'
import { setCancelDue } from '../store/tx/runs/queue.ts'
import { applyEvent, toOwnJob } from './apply-event.ts'
import type { ChangedJob, CommandNeeds, Commit } from './commit.ts'

/** Whether the caller may change jobs of this tenant. */
export type CanModify = (tenant: string | null) => boolean

/** Whether the caller wants the change if the job has this version. It is asked within the transaction. */
export type IsExpected = (version: number) => boolean

const always: IsExpected = () => true

type Modified<Outcome> = { outcome: Outcome, entry: StatusEntry }

/**
 * What a cancellation did. `cancelled`: now, or earlier. `asked`: the job runs, and its worker learns of it with its
 * next report. `finished`: too late. `changed`: it does not have the expected version. `not-ours`:
 * another program's row. `forbidden`: no such job, or the caller may not change it.
 */
export type CancelOutcome = 'cancelled' | 'asked' | 'finished' | 'changed' | 'not-ours' | 'forbidden'

/** Cancels a job. `entry` is the job as it then is. Throws STORE_UNAVAILABLE. */
export type CancelJob = (
  jobId: string, canModify: CanModify, isExpected?: IsExpected
) => Promise<Modified<CancelOutcome>>

/** What an erasure did. `active`: the job is not finished yet. `changed`, `forbidden`: as for a cancellation. */
export type EraseOutcome = 'erased' | 'active' | 'changed' | 'forbidden'

/**
 * Removes a finished job with all that belongs to it; a tombstone stays. `entry` is the job, or its tombstone, as it
 * then is. Throws STORE_UNAVAILABLE.
 */
export type EraseJob = (
  jobId: string, canModify: CanModify, isExpected?: IsExpected
) => Promise<Modified<EraseOutcome>>

export type CancelJobNeeds = CommandNeeds & {
  /** How long a worker has to notice a cancellation, in ms; then the job is cancelled without it. */
  graceMs: number
  /** Called for each cancellation of a running job, after the commit. */
  onAsked: (jobId: string) => void
}

type Decide<Outcome> = (tx: Tx, lookup: JobLookup) => Promise<{ outcome: Outcome, change: ChangedJob }>

// Each answer reveals the job's state, also the answer that nothing was changed, so each is exposed.
const modify = async <Outcome>(commit: Commit, jobId: string, decide: Decide<Outcome>): Promise<Modified<Outcome>> => {
  const { entries: [entry], value: outcome } = await commit(async tx => {
    await lockJob(tx, jobId)
    const { outcome, change } = await decide(tx, await findJob(tx, jobId))
    return { changes: [change], value: outcome }
  })
  return { outcome, entry }
}

export const createCancelJob = (needs: CancelJobNeeds): CancelJob => async (
  jobId, canModify, isExpected = always
) => {
  const { commit, now, graceMs, onAsked } = needs
  const cancelled = await modify<CancelOutcome>(commit, jobId, async (tx, lookup) => {
    const unchanged = (outcome: CancelOutcome) => ({ outcome, change: { lookup } })
    if (lookup.kind !== 'job') return unchanged('forbidden')
    const job = toOwnJob(lookup)
    if (job === undefined) return unchanged('not-ours')
    if (!canModify(job.tenant)) return unchanged('forbidden')
    if (job.state === 'cancelled') return unchanged('cancelled')
    const isFirst = job.state === 'running' && job.cancelRequestedAt === null
    // A request that is sent again after a lost response finds its own change.
    if ((job.state === 'queued' || isFirst) && !isExpected(job.version)) return unchanged('changed')
    const change = await applyEvent(tx, { jobId }, { type: 'cancel', at: now() }, now())
    if (change === undefined) return unchanged('finished')
    if (job.state === 'queued') return { outcome: 'cancelled', change }
    await setCancelDue(tx, jobId, now() + graceMs)
    return { outcome: 'asked', change: isFirst ? change : { lookup: change.lookup } }
  })
  if (cancelled.outcome === 'asked') onAsked(jobId)
  return cancelled
}

export const createEraseJob = ({ commit }: Pick<CommandNeeds, 'commit'>): EraseJob => (
  jobId, canModify, isExpected = always
) =>
  modify<EraseOutcome>(commit, jobId, async (tx, lookup) => {
    if (lookup.kind !== 'job' || !canModify(lookup.job.tenant)) return { outcome: 'forbidden', change: { lookup } }
    if (!isTerminal(lookup.job)) return { outcome: 'active', change: { lookup } }
    if (!isExpected(lookup.job.version)) return { outcome: 'changed', change: { lookup } }
    await deleteJob(tx, jobId)
    return { outcome: 'erased', change: { lookup: await findJob(tx, jobId) } }
  })
