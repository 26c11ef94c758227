import SqliteDatabase from 'better-sqlite3'

/*
 * What clients know of each job, and what the database holds. Each job is driven by one client, one command
 * after the other, so at a kill it is as it was acknowledged, or one command further: there is no third possibility.
 */

/** A job as far as this test looks at it. `bytes`: how many of its result are there, while it runs or once it succeeded. */
export type Facts = {
  state: 'absent' | 'Queued' | 'Running' | 'Succeeded' | 'Failed' | 'gone'
  attempt: number
  percent: number
  bytes: number
  code: string | null
  cancelAsked: boolean
}

export const absent: Facts = { state: 'absent', attempt: 0, percent: 0, bytes: 0, code: null, cancelAsked: false }

/**
 * `done` counts the commands that were carried out; `underWay` is what the job comes to if the one without a response
 * was, too. `seen`: the newest version shown.
 */
export type Driven = {
  serial: number
  key: string
  jobId: string | null
  leaseToken: string | null
  acknowledged: Facts
  underWay: Facts | null
  seen: number
  done: number
}

/** The result of a job up to a length; no two jobs have the same, and no two places in one. */
export const contentOf = (serial: number, length: number): string => {
  const lines: string[] = []
  for (let size = 0, line = 0; size < length; line++) {
    lines.push(`job ${serial} line ${line}\n`)
    size += lines.at(-1)?.length ?? 0
  }
  return lines.join('').slice(0, length)
}

/** JSON that was given as a result has a length too. */
export const givenResult = (serial: number): string => JSON.stringify({ serial, text: `given ${serial}` })

type Row = {
  status: 'Queued' | 'Running' | 'Succeeded' | 'Failed'
  attempt: number
  percent: number | null
  version: number
  code: string | null
  cancelAsked: number
  leaseToken: string | null
}

const rowSql = `SELECT status, attempt, progressPercent AS percent, version, errorDetails ->> '$.code' AS code,
  cancelRequestedAt IS NOT NULL AS cancelAsked, leaseToken
  FROM JobExecutionLog LEFT JOIN JobQueue USING (jobId) WHERE jobId = ?`

export type Observed = {
  facts: Facts, version: number, leaseToken: string | null, jobId: string | null, content: string
}

export const openObserver = (path: string) => {
  const database = new SqliteDatabase(path)
  const row = database.prepare<[string], Row>(rowSql)
  const tombstone = database.prepare<[string], number>('SELECT version FROM JobTombstone WHERE jobId = ?').pluck()
  const chunks =
    database.prepare<[string], Buffer>('SELECT bytes FROM JobResultChunk WHERE jobId = ? ORDER BY startOffset').pluck()
  const byKey = database.prepare<[string], string>('SELECT jobId FROM IdempotencyKey WHERE key = ?').pluck()

  const observe = ({ key, jobId: known }: Pick<Driven, 'key' | 'jobId'>): Observed => {
    const jobId = known ?? byKey.get(key) ?? null
    const found = jobId === null ? undefined : row.get(jobId)
    if (jobId === null || found === undefined) {
      const version = jobId === null ? undefined : tombstone.get(jobId)
      return {
        facts: {
          ...absent, state: version === undefined ? 'absent' : 'gone'
        },
        version: version ?? 0,
        leaseToken: null,
        jobId,
        content: ''
      }
    }
    const { status, attempt, percent, version, code, cancelAsked, leaseToken } = found
    const content = status === 'Running' || status === 'Succeeded' ? Buffer.concat(chunks.all(jobId)).toString() : ''
    const facts: Facts = {
      state: status, attempt, percent: percent ?? 0, bytes: content.length, code, cancelAsked: cancelAsked === 1
    }
    return { facts, version, leaseToken, jobId, content }
  }

  return {
    observe,
    /** Every job of this service that the database knows, or knew. */
    jobIds: () => database.prepare<[], string>(
      'SELECT jobId FROM JobExecutionLog WHERE submittedBy IS NOT NULL UNION SELECT jobId FROM JobTombstone').pluck()
      .all(),
    close: () => { database.close() }
  }
}

const isSame = (one: Facts, other: Facts): boolean => JSON.stringify(one) === JSON.stringify(other)

/** What is wrong with a job, or null; a job that went one command further than was acknowledged is put there. */
export const compare = (driven: Driven, { facts, version, leaseToken, jobId, content }: Observed): string | null => {
  const { acknowledged, underWay, serial, seen } = driven
  const isFurther = underWay !== null && isSame(facts, underWay)
  if (!isFurther && !isSame(facts, acknowledged)) {
    return `job ${serial} (${jobId}): acknowledged ${JSON.stringify(acknowledged)}, under way ${JSON.stringify(underWay)}, found ${JSON.stringify(facts)}`
  }
  if (version < seen) return `job ${serial} (${jobId}): version ${seen} was shown, ${version} is there`
  if (content !== contentOf(serial, content.length) && content !== givenResult(serial)) {
    return `job ${serial} (${jobId}): its result is not what was sent`
  }
  if (isFurther) driven.done++
  Object.assign(driven, { acknowledged: facts, underWay: null, leaseToken, jobId })
  return null
}
