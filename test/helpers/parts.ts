import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import type { StatusEntry } from '../../src/job/status-entry.ts'
import type { Job, JobLookup } from '../../src/job/job.ts'
import type { JobEventType } from '../../src/job/lifecycle.ts'
import { createJobWatch, type JobWatch } from '../../src/status/await-change.ts'
import { createFixedEpoch, type Epoch } from '../../src/status/epoch/epoch.ts'
import {
  createExpose, createExposeEntry, createInvalidateOlder, type Expose, type ExposeEntry
} from '../../src/status/expose.ts'
import { createFillPolicy, type FillPolicy } from '../../src/status/fill-policy.ts'
import type { ReadSource } from '../../src/status/fill.ts'
import { createEntryLoader } from '../../src/status/load-entry.ts'
import { createReadStatus } from '../../src/status/read-status.ts'
import { createSingleFlight } from '../../src/status/single-flight.ts'
import type { Store } from '../../src/store/store.ts'
import { createViews } from '../../src/views/views.ts'
import { createCancelJob, createEraseJob } from '../../src/write/cancel-and-erase.ts'
import { createClaimJob } from '../../src/write/runs/claim-job.ts'
import { createCommit } from '../../src/write/commit.ts'
import { createExpireResults } from '../../src/write/expire-results.ts'
import { createOutages } from '../../src/write/runs/outages.ts'
import { createRescueJobs } from '../../src/write/runs/rescue-jobs.ts'
import { createRunJob } from '../../src/write/runs/run-job.ts'
import { createStoreInput } from '../../src/write/store-input.ts'
import { createSubmitJob } from '../../src/write/submit-job.ts'
import { openForeign, openStore } from '../store/open.ts'

/** What a test replaces. */
export type PartsOverrides = {
  cache?: StatusCache
  epoch?: Epoch
  fillPolicy?: FillPolicy
  /** ms since 1970. */
  now?: () => number
  /** Names jobs, leases, inputs and fills. */
  nextId?: () => number | string
  nextJobId?: () => string
  graceMs?: number
  resultRetentionMs?: number
  inputBytesMax?: number
  aroundFind?: (find: (jobId: string) => Promise<JobLookup>) => (jobId: string) => Promise<JobLookup>
  aroundExpose?: (expose: Expose) => Expose
  aroundExposeEntry?: (expose: ExposeEntry) => ExposeEntry
  onTransition?: (job: Job, event: JobEventType) => void
  onQueued?: (type: string, tenant: string) => void
  onAsked?: (jobId: string) => void
  /** Whether a jump of the clock is an outage of the process; otherwise time just passes. */
  hasOutages?: boolean
}

const ignore = (): void => {}
const itself = <Value>(value: Value): Value => value

/** A cache in memory whose cells never expire: an old entry is replaced or invalidated, or it stays. */
export const createLastingCache = (): StatusCache => createMemoryCache({ now: () => 1, random: () => 0 })

/** All commands and reads on a store: what a service has below HTTP, without its loops. */
export const createParts = (store: Store, overrides: PartsOverrides = {}) => {
  const { cache = createLastingCache(), epoch = createFixedEpoch(() => 'e1'), now = () => Date.now() } = overrides
  const { nextId = randomUUID, nextJobId = () => `job-${nextId()}` } = overrides
  const { graceMs = 60_000, resultRetentionMs = 86_400_000, inputBytesMax = 10_000_000 } = overrides
  const { aroundFind = itself, aroundExpose = itself, aroundExposeEntry = itself } = overrides
  const { onTransition = ignore, onQueued = ignore, onAsked = ignore, hasOutages = false } = overrides
  const { fillPolicy = createFillPolicy({ monotonicNow: () => performance.now() }) } = overrides
  const views = createViews({ publicUrl: null, onInvalid: ignore })
  const onExposed = (entry: StatusEntry): void => { watch.onExposed(entry) }
  const expose = aroundExpose(createExpose({ cache, epoch, views, onExposed }))
  const outages = createOutages({ now: hasOutages ? now : () => 0 })
  const commit = createCommit({ transact: (work, group) => outages.observe(store.transact(work, group)), expose, onTransition })
  const needs = { commit, now }
  const queueNeeds = { ...needs, queue: store.queue, randomId: () => `token-${nextId()}` }
  const runJob = createRunJob({ ...needs, resultRetentionMs, graceMs })
  const reads: ReadSource[] = []
  const statusReads = createReadStatus({
    cache,
    epoch,
    loadEntry: createEntryLoader({ ...store.jobs, find: aroundFind(store.jobs.find), views }),
    exposeEntry: aroundExposeEntry(createExposeEntry({ cache, epoch, onExposed })),
    invalidateOlder: createInvalidateOlder({ cache, epoch, onExposed }),
    uniqueId: () => `fill-${nextId()}`,
    onRead: source => { reads.push(source) },
    createSingleFlight,
    fillPolicy
  })
  const watch: JobWatch = createJobWatch({ ...statusReads, findVersions: store.jobs.findVersions })
  return {
    cache,
    epoch,
    expose,
    commit,
    toEntry: views.toEntry,
    submitJob: createSubmitJob({ ...needs, randomUuid: nextJobId, onQueued }),
    storeInput: createStoreInput({ ...needs, randomId: () => `input-${nextId()}`, bytesMax: inputBytesMax }),
    claimJob: createClaimJob({ ...queueNeeds, release: runJob.release }),
    rescueJobs: createRescueJobs({ ...queueNeeds, outages, graceMs }),
    runJob,
    cancelJob: createCancelJob({ ...needs, graceMs, onAsked }),
    eraseJob: createEraseJob(needs),
    expireResults: createExpireResults(needs),
    ...statusReads,
    watch,
    /** Where each read of a status was answered from. */
    reads,
    results: store.results,
    inputs: store.inputs
  }
}

/** The parts on a SQLite file of the test's own (or on this one), and what another program does to it. */
export const openParts = async (t: Test, { path, ...overrides }: PartsOverrides & { path?: string } = {}) => {
  const opened = await openStore(t, path)
  const foreign = openForeign(t, opened.path)
  return {
    ...opened,
    ...createParts(opened.store, overrides),
    /** Runs SQL as another program would. */
    sql: (text: string) => { foreign.exec(text) },
    /** How many rows a query yields, as another program sees it. */
    count: (from: string): unknown => foreign.prepare(`SELECT count(*) FROM ${from}`).pluck().get(),
    /** Commits another percent of job-1, and returns the new version. */
    advance: (percent: number): number => {
      foreign.exec(`UPDATE JobExecutionLog SET progressPercent = ${percent} WHERE jobId = 'job-1'`)
      return foreign.prepare("SELECT version FROM JobExecutionLog WHERE jobId = 'job-1'").pluck().get() as number
    }
  }
}

/** A place where a test can hold a call and let it go. */
export const createGate = () => {
  let isShut = false
  let open = () => {}
  let opened = Promise.resolve()
  let arrived = () => {}
  let arrival = new Promise<void>(resolve => { arrived = resolve })
  return {
    shut: () => {
      isShut = true
      opened = new Promise(resolve => { open = resolve })
      arrival = new Promise(resolve => { arrived = resolve })
    },
    open: () => {
      isShut = false
      open()
    },
    /** Resolves when a call has arrived at the shut gate. */
    reached: async () => { await arrival },
    pass: async () => {
      if (!isShut) return
      arrived()
      await opened
    }
  }
}
