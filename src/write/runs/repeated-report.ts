import { createHash } from 'node:crypto'
import { type Failure, toFailureJson } from '../../job/job.ts'
import type { LeaseHeld } from '../../job/lease.ts'
import type { Tx } from '../../store/store.ts'
import { findEndReport } from '../../store/tx/runs/attempts.ts'
import type { RunOutcome } from './run-outcome.ts'

/*
 * A worker that has lost the answer to its last report sends the report again. By then the lease is over, so the run
 * keeps two hashes: of its lease token, and of the report that ended it. Only the same report under the same lease is a
 * repetition; any other report comes too late.
 */

const hash = (text: string): string => createHash('sha256').update(text).digest('base64')

/** Stands for a lease token where the token itself is not to be kept. */
export const hashLease = (leaseToken: string): string => hash(leaseToken)

/** A report that ends a run. */
export type EndReport =
  | { type: 'complete', outcome: RunOutcome }
  | { type: 'fail', failure: Failure, retryable: boolean }
  | { type: 'release' }

const toParts = (report: EndReport): unknown[] => {
  switch (report.type) {
    case 'fail': return [toFailureJson(report.failure), report.retryable]
    case 'release': return []
    case 'complete': {
      const { outcome } = report
      if (outcome.kind === 'given') return ['given', outcome.facts.sha256]
      // The worker says the same whether it has uploaded bytes or not.
      return outcome.kind === 'external' ? ['external', outcome.url] : ['uploaded']
    }
  }
}

/** Stands for a report, so that a repetition is recognized. */
export const hashReport = (report: EndReport): string => hash(JSON.stringify([report.type, ...toParts(report)]))

/** Whether this report ended the run of this lease. */
export const wasEndedBy = async (tx: Tx, { jobId, leaseToken }: LeaseHeld, report: EndReport): Promise<boolean> =>
  await findEndReport(tx, jobId, hashLease(leaseToken)) === hashReport(report)
