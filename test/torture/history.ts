/*
 * What a run of the torture leaves to be judged. All times are ms of one clock, that of the process that sent the requests:
 * taken before sending, and after the whole answer was there.
 */

/** How a job can end. */
export type End = 'succeeded' | 'failed' | 'cancelled'

/**
 * What a request waited for, and for how long at most: a version above one that the client had, or (null) the end of the
 * job.
 */
export type Wait = { above: number | null, limitMs: number }

/**
 * A request that was answered. `version` and `position` are what the answer revealed; null: it did not reveal one.
 * Version 0: that there is no such job.
 */
export type Operation = {
  kind: 'read' | 'write'
  /** Index into `History.jobs`. */
  job: number
  startedAt: number
  endedAt: number
  version: number | null
  position: number | null
  /** Where it is at most, if no more than that was revealed. */
  positionMax?: number
  end: End | null
  wait?: Wait
  /** The least version that the same client may be given after what it was given before, where it follows changes. */
  least?: number
  /** The process that responded, and the request: for the reader of a violation. */
  node: number
  what: string
}

/** A change that another program committed; `committedAt` was taken after the commit. */
export type ForeignWrite = { job: number, version: number, committedAt: number }

/** A claim: the job belongs to this worker alone from the response until its last known lease ends, or until it ends the run. */
export type Hold = { job: number, attempt: number, holder: string, from: number, until: number }

/**
 * The time in which a client followed the changes of all jobs without a break: from its first request on, until it had
 * read last. `got`: what it was given, and when.
 */
export type Follow = { from: number, until: number, who: string, got: Array<{ job: number, version: number, at: number }> }

/** What a client that followed the changes holds when all is over: the version of each job. */
export type Mirror = { who: string, versions: ReadonlyArray<{ job: number, version: number }> }

/** While something was broken on purpose. */
export type FaultWindow = { name: string, from: number, until: number }

/** The record of a job when all was over. */
export type FinalRecord = { jobId: string, version: number, position: number, end: End | null }

/** `operations` in the order of their ends; `made`: the jobs that clients submitted and other programs wrote. */
export type History = {
  jobs: readonly string[]
  made: ReadonlySet<number>
  operations: readonly Operation[]
  foreignWrites: readonly ForeignWrite[]
  holds: readonly Hold[]
  follows: readonly Follow[]
  mirrors: readonly Mirror[]
  faults: readonly FaultWindow[]
  records: readonly FinalRecord[]
}

/** The position of every job that has ended. */
export const endPosition = 1e9

/*
 * Acknowledgements to workers name no version. So the position of a job is also a number that only rises: the attempt,
 * and within it the percent; then queued again; then the end.
 */
export const toPosition = (state: string, attempt: number, percent: number): number => {
  if (state === 'queued') return attempt * 1000 + (attempt === 0 ? 0 : 500)
  if (state === 'running') return attempt * 1000 + percent
  return endPosition
}

const ends: readonly string[] = ['succeeded', 'failed', 'cancelled'] satisfies End[]

export const toEnd = (state: string | undefined): End | null =>
  state !== undefined && ends.includes(state) ? state as End : null
