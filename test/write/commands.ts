import type { Test } from 'tap'
import type { Job, JobLookup } from '../../src/job/job.ts'
import type { JobEventType } from '../../src/job/lifecycle.ts'
import type { ClaimFilter } from '../../src/store/store.ts'
import type { CanModify } from '../../src/write/cancel-and-erase.ts'
import type { RunOutcome } from '../../src/write/runs/run-outcome.ts'
import type { Submission, StoredInput, Submitter } from '../../src/write/submit-job.ts'
import { openParts } from '../helpers/parts.ts'
import { idOf, jobOf } from '../store/jobs.ts'

export const leaseMs = 30_000
export const graceMs = 60_000
export const resultRetentionMs = 86_400_000
export const alice: Submitter = { subject: 'alice', tenant: 'acme', allTenants: false }

/** Reports of every tenant. */
export const reports: ClaimFilter = { types: ['report'], tenant: null }

export const always: CanModify = () => true

export type Exposed = { lookup: JobLookup, committed: JobLookup }

/**
 * The commands on a real database and a real cache. The clock stands still until it is moved; every expose is
 * recorded with what other connections saw at that moment.
 */
export const openCommands = async (
  t: Test, path?: string, { clock = { ms: Date.UTC(2026, 0, 31, 12) }, hasOutages = false } = {}
) => {
  const exposed: Exposed[] = []
  const transitions: Array<[JobEventType, Job['state']]> = []
  let held: Promise<void> | undefined
  let ids = 0
  const queued: number[] = []
  const asked: string[] = []
  const parts = await openParts(t, {
    ...(path === undefined ? {} : { path }),
    now: () => clock.ms,
    nextId: () => ++ids,
    graceMs,
    resultRetentionMs,
    inputBytesMax: 1_000_000,
    hasOutages,
    aroundExpose: expose => async (lookup, fill) => {
      exposed.push({ lookup, committed: await parts.store.jobs.find(idOf(lookup)) })
      await held
      return await expose(lookup, fill)
    },
    onTransition: (job, event) => { transitions.push([event, job.state]) },
    onQueued: () => { queued.push(exposed.length) },
    onAsked: jobId => { asked.push(jobId) }
  })
  return {
    ...parts,
    clock,
    exposed,
    transitions,
    queued,
    asked,
    submit: async (submission: Partial<Submission> = {}, submitter = alice, raw?: StoredInput) =>
      (await parts.submitJob(submitter, { type: 'report', input: {}, ...submission }, null, raw)).jobId,
    claim: async (holder = 'worker') => {
      const claim = await parts.claimJob(reports, holder, leaseMs)
      if (claim === null) throw new Error('nothing to claim')
      return claim
    },
    job: async (jobId: string) => jobOf(await parts.store.jobs.find(jobId)),
    /** Every exposure waits from now on, until the returned function is called. */
    holdExpose: () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return resolve
    }
  }
}

export type Commands = Awaited<ReturnType<typeof openCommands>>

export const csv = { contentType: 'text/csv', fileName: 'report.csv' }

/** Facts about a result of this size. */
export const facts = (sizeBytes: number) => ({ ...csv, sizeBytes, sha256: 'c2hh', inlineJson: null })

/** The outcome of a run that appended this many bytes. */
export const appended = (sizeBytes: number): RunOutcome => ({ kind: 'appended', facts: facts(sizeBytes) })

/** The outcome of a run that sends these bytes with its completion. */
export const given = (text: string): RunOutcome => ({
  kind: 'given', facts: facts(Buffer.byteLength(text)), bytes: Buffer.from(text)
})

export const noResult: RunOutcome = { kind: 'none' }
