import { type Answer, noAnswer } from './client.ts'
import {
  endPosition, type Follow, type ForeignWrite, type Hold, type Mirror, type Operation, toEnd, type Wait
} from './history.ts'
import { ofTask, type Revealed, type TaskJob } from './revealed.ts'

/** Responses that are errors of the service: 5xx other than 503, and any status that the request does not allow. */
export type Complaint = { at: number, text: string }

/**
 * A request whose connection ended, or (`isOrderly`) a stream that the service ended before its last event. Only the end
 * of a process excuses the first; a failover of the database excuses the second, too.
 */
export type Cut = { startedAt: number, endedAt: number, text: string, isOrderly: boolean }

/** Writes down what was answered. */
export type Recorder = ReturnType<typeof createRecorder>

export type Recorded = {
  kind: Operation['kind']
  job: number
  node: number
  what: string
  /** The ETag that the client sent. */
  tag?: string | undefined
  answer: Answer
  position?: number | null
  wait?: Wait
}

/** The version that an ETag names. */
export const versionOf = (eTag: string | undefined): number | null => {
  const version = /\.(\d+)\.\d+"$/.exec(eTag ?? '')?.[1]
  return version === undefined ? null : Number(version)
}

/** Whether a database that has taken the place of another does not know what the client has: an ETag, or the id of an event. */
export const isOfOther = (known: string | null | undefined, given: string | null | undefined): boolean => {
  const [before, after] = [known, given].map(text => /^"?(\w+)\./.exec(text ?? '')?.[1])
  return before !== undefined && after !== undefined && before !== after
}

type Many = { items: Array<{ jobId: string, status: string }>, notFound: string[] }

const isEnd = (status: string): boolean => status === 'Succeeded' || status === 'Failed'

/** What a client was given, and when it had asked. */
export type Seen = Pick<Operation, 'kind' | 'job' | 'node' | 'what' | 'startedAt' | 'endedAt' | 'wait' | 'least'>

export const createRecorder = () => {
  const jobs: string[] = []
  const operations: Operation[] = []
  const foreignWrites: ForeignWrite[] = []
  const holds: Hold[] = []
  const follows: Follow[] = []
  const mirrors: Mirror[] = []
  const complaints: Complaint[] = []
  const cuts: Cut[] = []
  const refusals = new Map<string, number>()
  const indexOf = new Map<string, number>()
  const made = new Set<number>()

  const toJob = (jobId: string): number => {
    const known = indexOf.get(jobId)
    if (known !== undefined) return known
    indexOf.set(jobId, jobs.length)
    return jobs.push(jobId) - 1
  }

  const toMadeJob = (jobId: string): number => {
    const job = toJob(jobId)
    made.add(job)
    return job
  }

  const complain = (text: string) => { complaints.push({ at: performance.now(), text }) }

  /** Counts what was refused, and complains of what no fault excuses. */
  const refuse = (
    { what, node, answer }: Pick<Recorded, 'what' | 'node' | 'answer'>, expected: readonly number[] = []
  ): void => {
    if (answer.status === noAnswer.aborted) return
    const key = `${what.split(' ')[0] ?? ''} ${answer.status}`
    refusals.set(key, (refusals.get(key) ?? 0) + 1)
    if (expected.includes(answer.status)) return
    const { startedAt, endedAt } = answer
    if (answer.status === noAnswer.cut) {
      cuts.push({ startedAt, endedAt, text: `${what} at process ${node}: no answer`, isOrderly: false })
      return
    }
    if (answer.status === 503 && answer.headers['retry-after'] !== undefined) return
    complain(`${what} at process ${node}: ${answer.status} ${answer.text.slice(0, 300)}`)
  }

  const push = (
    { kind, job, node, what, wait, answer: { startedAt, endedAt } }: Recorded,
    revealed: Revealed
  ) => {
    operations.push({ kind, job, startedAt, endedAt, node, what, ...wait && { wait }, ...revealed })
  }

  /** A wait is granted as it was asked for: there are not too many of them. */
  const checkGrant = (
    { what, wait, answer: { headers } }: Pick<Recorded, 'what' | 'answer'> & { wait?: Wait | undefined }
  ) => {
    if (wait === undefined) return
    const expected = `wait=${wait.limitMs / 1000}`
    const applied = headers['preference-applied']
    if (applied !== expected) complain(`${what}: ${applied ?? 'nothing'} was applied, not ${expected}`)
  }

  return {
    jobs,
    operations,
    foreignWrites,
    holds,
    follows,
    mirrors,
    complaints,
    cuts,
    refusals,
    toJob,
    /** The same of a job that a client has submitted, or another program has written. */
    toMadeJob,
    made,
    complain,
    refuse,
    checkGrant,
    /** Records that the service ended a stream before its last event. */
    interrupt: ({ what, node, answer: { startedAt, endedAt } }: Pick<Recorded, 'what' | 'node' | 'answer'>) => {
      cuts.push({ startedAt, endedAt, text: `${what} at process ${node}: the stream ended before the job`, isOrderly: true })
    },
    /** Records what a client was given in another way than as the response to a poll. */
    see: (seen: Seen, revealed: Revealed) => { operations.push({ ...seen, ...revealed }) },
    /** Records a command, from its response and the caller's position. */
    write: (recorded: Recorded) => {
      const { headers } = recorded.answer
      const state = headers['job-state']
      const end = toEnd(state)
      push(recorded, {
        version: versionOf(headers.etag), position: end === null ? recorded.position ?? null : endPosition, end
      })
    },
    /** Records a read of many, which reveals their statuses and no more. */
    readMany: (ofWhich: readonly number[], recorded: Omit<Recorded, 'job'>) => {
      if (recorded.answer.status !== 200) return refuse(recorded)
      const { items, notFound } = JSON.parse(recorded.answer.text) as Many
      for (const job of ofWhich) {
        const jobId = jobs[job] ?? ''
        const status = items.find(item => item.jobId === jobId)?.status
        if (status === undefined && !notFound.includes(jobId)) {
          complain(`${recorded.what}: ${jobId} is neither found nor not`)
        }
        const revealed = status === undefined
          ? { version: 0, position: -1 }
          : isEnd(status)
            ? {
                version: null, position: endPosition
              }
            : { version: null, position: null, positionMax: endPosition - 1 }
        push({ ...recorded, job }, { ...revealed, end: null })
      }
    },
    /** Records a poll, in either view. */
    read: (recorded: Recorded) => {
      const { answer } = recorded
      if (answer.status === 404) return push(recorded, { version: 0, position: -1, end: null })
      if (answer.status !== 200 && answer.status !== 304) return refuse(recorded)
      checkGrant(recorded)
      const { headers } = answer
      const state = headers['job-state']
      const version = versionOf(headers.etag)
      if (version === null || state === undefined) {
        return complain(`${recorded.what}: an answer without ETag or Job-State`)
      }
      if (answer.status === 304 && recorded.tag !== undefined && recorded.tag !== '*' && recorded.tag !== headers.etag) {
        complain(`${recorded.what}: 304 under the ETag ${headers.etag ?? ''}`)
      }
      const end = toEnd(state)
      let position = end === null ? null : endPosition
      if (answer.status === 200 && answer.text.startsWith('{"success"')) {
        const { data } = JSON.parse(answer.text) as { data: TaskJob }
        position = ofTask(data).position
        if (data.version !== version) {
          complain(`${recorded.what}: version ${data.version} under the ETag ${headers.etag ?? ''}`)
        }
        if (data.status !== state) complain(`${recorded.what}: status ${data.status} under Job-State ${state}`)
      }
      // What a client waits for that has an ETag of another database is any state of this one.
      const wait = recorded.wait && isOfOther(recorded.tag, headers.etag) ? { ...recorded.wait, above: -1 } : recorded.wait
      push({ ...recorded, ...wait && { wait } }, { version, position, end })
    }
  }
}
