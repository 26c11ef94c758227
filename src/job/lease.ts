import type { JobLookup } from './job.ts'

/**
 * The right to report on one run of a job. It is void as soon as another run could begin. `maySee`: whether its holder
 * may know of jobs of this tenant; without it, of all jobs.
 */
export type LeaseHeld = { jobId: string, leaseToken: string, maySee?: (tenant: string | null) => boolean }

const tenantOf = (lookup: JobLookup): string | null => {
  switch (lookup.kind) {
    case 'job': return lookup.job.tenant
    case 'tombstone': return lookup.tombstone.tenant
    case 'invalid': return lookup.tenant
    case 'absent': return null
  }
}

/** Whether the holder of the lease may know of the job that it names. */
export const isVisibleToHolder = ({ maySee }: LeaseHeld, lookup: JobLookup): boolean =>
  maySee === undefined || maySee(tenantOf(lookup))

/** The state of a lease, returned with every report. `leaseExpiresAt` in ms since 1970. */
export type LeaseState = { leaseExpiresAt: number, cancelRequested: boolean }

/**
 * The lease was taken back, another run holds the job, or the holder may not know of it: nothing that came with the
 * report was kept.
 */
export class LeaseLost extends Error {
  constructor (jobId: string) {
    super(`the lease on job ${jobId} is lost`)
    this.name = 'LeaseLost'
  }
}

/**
 * Result bytes do not begin at `offset`, where the stored ones end (a result never has a hole), or the stored ones are
 * not those that the worker names.
 */
export class OffsetMismatch extends Error {
  readonly offset: number

  constructor (offset: number, message = `the result continues at offset ${offset}`) {
    super(message)
    this.name = 'OffsetMismatch'
    this.offset = offset
  }
}

/** A run that has appended bytes completed with another result: one of the two would be lost. */
export class ResultBegun extends Error {
  constructor (jobId: string) {
    super(`bytes of a result of job ${jobId} were appended already`)
    this.name = 'ResultBegun'
  }
}

/** The name, or its beginning, under which the worker of a service process holds its leases. */
export const embeddedHolder = 'embedded'
