/** The right to report on one run of a job: void as soon as another run could begin. */
export type LeaseHeld = { jobId: string, leaseToken: string }
