import type { Test } from 'tap'
import type { Job, JobLookup } from '../../../src/job/job.ts'
import type { JobInput } from '../../../src/job/input.ts'
import type { ListJobs, Store } from '../../../src/store/store.ts'
import type { RunLease } from '../../../src/store/tx/runs/queue.ts'

/** A store on a new database of the test's own, with what a test does to it from outside. */
export type StoreUnderTest = {
  store: Store
  /** The store of another process on the same database, closed when the test ends. */
  openAnother: () => Promise<Store>
  /** Runs plain SQL as another program. */
  sql: (statement: string) => Promise<unknown>
  /** The same without the CHECKs: what no writer can do, but a damaged disk or an older schema may leave behind. */
  sqlUnchecked: (statement: string) => Promise<unknown>
  /** The statement by which a program puts a record in the place of another, if there is one. */
  replacing: (row: Record<string, string>) => string
  /** How many rows a FROM clause has, as another program sees it. */
  count: (from: string) => Promise<number>
  /** The rows of the change log, in the order of their versions. */
  logged: () => Promise<Array<{ version: number, jobId: string }>>
  /** The list with another bound of the rows that are examined for a page. */
  listWith: (rowsExaminedMax: number) => ListJobs
  /** Removes all changes but the newest `keep`, as the pruner does when their time has come. */
  pruneChanges: (keep: number) => Promise<void>
}

export type OpenStoreUnderTest = (t: Test) => Promise<StoreUnderTest>

/** A topic of the contract: its tests, on whatever database `open` opens. */
export type Conformance = (t: Test, open: OpenStoreUnderTest) => void

export const item = (jobId: string, availableAt = 0) =>
  ({ jobId, type: 'report', tenant: 'acme', maxAttempts: 3, timeoutMs: null, resultRetentionMs: null, availableAt })

export const lease = (leaseToken: string, more: Partial<RunLease> = {}): RunLease =>
  ({ leaseToken, leaseHolder: 'w', leaseMs: 30, leaseExpiresAt: 500, deadlineAt: null, ...more })

export const input: JobInput = { input: '{"a":[1]}', access: '{"tenant":"acme"}', raw: null }

/** Facts of a result without bytes. */
export const noFacts = {
  contentType: 'text/csv', fileName: 'r.csv', sizeBytes: 0, sha256: '47DEQpj8', inlineJson: null
}

export const withoutVersion = (job: Job) => ({ ...job, version: 0 })

export const versionOf = (lookup: JobLookup): number => {
  switch (lookup.kind) {
    case 'job': return lookup.job.version
    case 'tombstone': return lookup.tombstone.version
    case 'invalid': return lookup.version
    case 'absent': return 0
  }
}
