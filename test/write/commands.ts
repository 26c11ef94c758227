import { join } from 'node:path'
import type { Test } from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import { createViews } from '../../src/views/views.ts'
import type { Job, JobLookup } from '../../src/job/job.ts'
import type { JobEventType } from '../../src/job/lifecycle.ts'
import { createFixedEpoch, type Epoch } from '../../src/status/epoch/epoch.ts'
import { createExpose, createExposeEntry, type Expose } from '../../src/status/expose.ts'
import { createEntryLoader } from '../../src/status/load-entry.ts'
import { createReadStatus } from '../../src/status/read-status.ts'
import { createSingleFlight } from '../../src/status/single-flight.ts'
import type { ClaimFilter, Store, Transact } from '../../src/store/store.ts'
import { createCancelJob, createEraseJob, type CanModify } from '../../src/write/cancel-and-erase.ts'
import { createClaimJob } from '../../src/write/claim-job.ts'
import { createCommit } from '../../src/write/commit.ts'
import { createExpireResults } from '../../src/write/expire-results.ts'
import { createRescueJobs } from '../../src/write/rescue-jobs.ts'
import { createRunJob, type RunOutcome } from '../../src/write/run-job.ts'
import { createStoreInput } from '../../src/write/store-input.ts'
import { createSubmitJob, type Submission, type StoredInput, type Submitter } from '../../src/write/submit-job.ts'
import { idOf, jobOf } from '../store/jobs.ts'
import { openForeign, openStore } from '../store/open.ts'

export const leaseMs = 30_000
export const graceMs = 60_000
export const resultRetentionMs = 86_400_000
export const alice: Submitter = { subject: 'alice', tenant: 'acme', allTenants: false }

/** Reports of every tenant. */
export const reports: ClaimFilter = { types: ['report'], tenant: null }

export const always: CanModify = () => true

export type CommandNeeds = {
  store: Store
  transact: Transact
  cache: StatusCache
  epoch: Epoch
  /** ms since 1970. */
  now: () => number
  nextId: () => number
  nextJobId?: () => string
  aroundExpose?: (expose: Expose) => Expose
  onTransition?: (job: Job, event: JobEventType) => void
  onQueued?: (type: string, tenant: string) => void
  onAsked?: (jobId: string) => void
}

/** All commands and reads, on this database and this cache. */
export const createCommands = (parts: CommandNeeds) => {
  const { store, transact, cache, epoch, now, nextId } = parts
  const { aroundExpose = expose => expose, onTransition = () => {}, onQueued = () => {}, onAsked = () => {} } = parts
  const { nextJobId = () => `job-${nextId()}` } = parts
  const views = createViews({ publicUrl: null, onInvalid: () => {} })
  const expose = aroundExpose(createExpose({ cache, epoch, views }))
  const commit = createCommit({ transact, expose, onTransition })
  const needs = { commit, now }
  const queueNeeds = { ...needs, queue: store.queue, randomId: () => `token-${nextId()}` }
  const runJob = createRunJob({ ...needs, resultRetentionMs, graceMs })
  return {
    expose,
    commit,
    toEntry: views.toEntry,
    submitJob: createSubmitJob({ ...needs, randomUuid: nextJobId, onQueued }),
    storeInput: createStoreInput({ ...needs, randomId: () => `input-${nextId()}`, bytesMax: 1_000_000 }),
    claimJob: createClaimJob({ ...queueNeeds, release: runJob.release }),
    rescueJobs: createRescueJobs(queueNeeds),
    runJob,
    cancelJob: createCancelJob({ ...needs, graceMs, onAsked }),
    eraseJob: createEraseJob(needs),
    expireResults: createExpireResults(needs),
    ...createReadStatus({
      cache,
      epoch,
      loadEntry: createEntryLoader({ ...store.jobs, views }),
      exposeEntry: createExposeEntry({ cache, epoch }),
      uniqueId: () => `fill-${nextId()}`,
      onRead: () => {},
      createSingleFlight
    }),
    results: store.results,
    inputs: store.inputs
  }
}

export type Exposed = { lookup: JobLookup, committed: JobLookup }

/**
 * The commands on a real database and a real cache. The clock stands still until it is moved; every expose is
 * recorded with what other connections saw at that moment.
 */
export const openCommands = async (t: Test, path = join(t.testdir(), 'jobs.db')) => {
  const opened = await openStore(t, path)
  const { store } = opened
  const clock = { ms: Date.UTC(2026, 0, 31, 12) }
  const now = () => clock.ms
  // Cells do not expire by themselves here: an old one must have been replaced or invalidated.
  const cache = createMemoryCache({ now: () => 1, random: () => 0 })
  const epoch = createFixedEpoch(() => 'e1')
  const exposed: Exposed[] = []
  const transitions: Array<[JobEventType, Job['state']]> = []
  let held: Promise<void> | undefined
  let ids = 0
  const queued: number[] = []
  const asked: string[] = []
  const commands = createCommands({
    ...opened,
    cache,
    epoch,
    now,
    nextId: () => ++ids,
    aroundExpose: expose => async (lookup, fill) => {
      exposed.push({ lookup, committed: await store.jobs.find(idOf(lookup)) })
      await held
      return await expose(lookup, fill)
    },
    onTransition: (job, event) => { transitions.push([event, job.state]) },
    onQueued: () => { queued.push(exposed.length) },
    onAsked: jobId => { asked.push(jobId) }
  })
  const foreign = openForeign(t, path)
  return {
    ...opened,
    ...commands,
    clock,
    cache,
    epoch,
    exposed,
    transitions,
    queued,
    asked,
    sql: (text: string) => { foreign.exec(text) },
    /** How many rows a query yields, as another program sees it. */
    count: (from: string): unknown => foreign.prepare(`SELECT count(*) FROM ${from}`).pluck().get(),
    submit: async (submission: Partial<Submission> = {}, submitter = alice, raw?: StoredInput) =>
      (await commands.submitJob(submitter, { type: 'report', input: {}, ...submission }, null, raw)).jobId,
    claim: async (holder = 'worker') => {
      const claim = await commands.claimJob(reports, holder, leaseMs)
      if (claim === null) throw new Error('nothing to claim')
      return claim
    },
    job: async (jobId: string) => jobOf(await store.jobs.find(jobId)),
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
export const given = (text: string): RunOutcome => ({ kind: 'given', facts: facts(Buffer.byteLength(text)), bytes: Buffer.from(text) })

export const noResult: RunOutcome = { kind: 'none' }
