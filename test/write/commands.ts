import { join } from 'node:path'
import type { Test } from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { createViews } from '../../src/http/views.ts'
import type { JobLookup } from '../../src/job/job.ts'
import { createFixedEpoch } from '../../src/status/epoch.ts'
import { createExpose, type Expose } from '../../src/status/expose.ts'
import { createQueueLook } from '../../src/store/queue.ts'
import { createResultStore } from '../../src/store/result-store.ts'
import { createRunJob } from '../../src/write/run-job.ts'
import { createSubmitJob, type Submission, type Submitter } from '../../src/write/submit-job.ts'
import { jobOf } from '../store/jobs.ts'
import { openForeign, openStore } from '../store/open.ts'

export const leaseMs = 30_000
export const alice: Submitter = { subject: 'alice', tenant: 'acme', allTenants: false }

export type Exposed = { lookup: JobLookup, committed: JobLookup }

/**
 * The commands on a real database and a real cache. The clock stands still until it is moved; every expose is
 * recorded with what other connections saw at that moment.
 */
export const openCommands = async (t: Test, path = join(t.testdir(), 'jobs.db')) => {
  const opened = await openStore(t, path)
  const { database, store, transact } = opened
  const clock = { ms: Date.UTC(2026, 0, 31, 12) }
  const now = () => clock.ms
  const cache = createMemoryCache({ now, random: () => 0 })
  const epoch = createFixedEpoch(() => 'e1')
  const { toEntry } = createViews({ publicUrl: null, onInvalid: () => {} })
  const exposeEntry = createExpose({ cache, epoch, toEntry })
  const exposed: Exposed[] = []
  let held: Promise<void> | undefined
  const expose: Expose = async (lookup, fill) => {
    exposed.push({ lookup, committed: await store.find(lookup.kind === 'job' ? lookup.job.jobId : '') })
    await held
    return await exposeEntry(lookup, fill)
  }
  let ids = 0
  const queued: number[] = []
  const runJob = createRunJob({ transact, queue: createQueueLook({ database }), expose, randomId: () => `token-${++ids}`, now, onTransition: () => {} })
  const submitJob = createSubmitJob({
    transact,
    expose,
    randomUuid: () => `job-${++ids}`,
    now,
    onQueued: () => { queued.push(exposed.length) }
  })
  const foreign = openForeign(t, path)
  return {
    ...opened,
    clock,
    cache,
    epoch,
    exposed,
    queued,
    runJob,
    submitJob,
    results: createResultStore({ database }),
    sql: (text: string) => { foreign.exec(text) },
    /** How many rows a query yields, as another program sees it. */
    count: (from: string): unknown => foreign.prepare(`SELECT count(*) FROM ${from}`).pluck().get(),
    submit: async (submission: Partial<Submission> = {}) => (await submitJob(alice, { type: 'report', input: {}, ...submission }, null)).jobId,
    claim: async (holder = 'worker') => {
      const claim = await runJob.claim(['report'], holder, leaseMs)
      if (claim === null) throw new Error('nothing to claim')
      return claim
    },
    job: async (jobId: string) => jobOf(await store.find(jobId)),
    /** From now on nothing gets past expose until it is let go. */
    holdExpose: () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return resolve
    }
  }
}

export type Commands = Awaited<ReturnType<typeof openCommands>>

/** Facts of these result bytes. */
export const facts = (sizeBytes: number) =>
  ({ contentType: 'text/csv', fileName: 'report.csv', sizeBytes, sha256: 'c2hh', inlineJson: null })
