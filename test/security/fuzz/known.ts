import type { Json } from '../../helpers/client.ts'
import type { Random } from '../../helpers/random.ts'
import { type RawAnswer, valuesOf } from '../../helpers/raw-http.ts'

/*
 * What the fuzzer knows of the service: the ids, leases, tags and cursors that its next requests name.
 */

/** What earlier answers brought, the newest few hundred of each. */
export type Known = {
  jobIds: string[],
  leases: Array<{ jobId: string, leaseToken: string }>,
  eTags: Array<{ path: string, eTag: string }>,
  cursors: string[]
}

export const createKnown = (): Known => ({
  jobIds: ['no-such-job'],
  leases: [{ jobId: 'no-such-job', leaseToken: 'none' }],
  eTags: [{ path: '/', eTag: '"x"' }],
  cursors: ['x']
})

const keptMax = 300

const keep = <Value>(values: Value[], value: Value) => {
  values.push(value)
  if (values.length > keptMax) values.shift()
}

// A job that was just accepted is likely to wait still, and a lease that was just granted to be valid.
const newestMax = 4

/** One of these, a new one more often than not. */
export const pickKnown = <Value>(values: readonly Value[], random: Random): Value =>
  random.pick(random.chance(0.6) ? values.slice(-newestMax) : values)

const withoutQuery = (target: string) => target.split('?', 1)[0] ?? ''

/** An entity tag, more often than not the last one of this target. */
export const pickETag = ({ eTags }: Known, target: string, random: Random): string => {
  const ofTarget = eTags.findLast(({ path }) => path === withoutQuery(target))
  return (random.chance(0.7) ? ofTarget : undefined)?.eTag ?? random.pick(eTags).eTag
}

/** Remembers what the answer to a request brought. */
export const learn = (known: Known, { target }: { target: string }, answer: RawAnswer): void => {
  for (const eTag of valuesOf(answer, 'etag')) keep(known.eTags, { path: withoutQuery(target), eTag })
  if (answer.status !== 200 && answer.status !== 202) return
  if (!(valuesOf(answer, 'content-type')[0] ?? '').includes('json')) return
  let body: Json
  try {
    body = JSON.parse(answer.body.toString())
  } catch {
    return
  }
  const jobId = body?.jobId ?? body?.data?.taskId
  if (typeof jobId === 'string') keep(known.jobIds, jobId)
  if (typeof jobId === 'string' && typeof body.leaseToken === 'string') {
    keep(known.leases, { jobId, leaseToken: body.leaseToken })
  }
  if (typeof body?.nextCursor === 'string') keep(known.cursors, body.nextCursor)
}
