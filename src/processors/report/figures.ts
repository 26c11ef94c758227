import { type RecordStatus, recordStatuses } from '../../job/job.ts'
import { toIso } from '../../job/time.ts'
import { collectDurations, type DurationFigures } from './durations.ts'
import type { RecordRow } from '../../store/store.ts'

/** Failure codes that are listed; the rest count under OTHER. */
const codesMax = 100

// Other programs write types and codes of any kind: so many are counted separately, the rest as one.
const typesMax = 500
const codesCountedMax = 10_000
const nameLengthMax = 256

export type StatusCounts = Record<RecordStatus, number>

export type TypeFigures = { type: string, total: number, byStatus: StatusCounts, durationMs: DurationFigures }

/**
 * The figures of every format. Times are ISO 8601 UTC. `period` spans the `createdAt` of the jobs counted, and is
 * null if there are none. `byType` is sorted by total, `failures` by count, both descending and then by name.
 */
export type Report = {
  report: 'job-execution'
  formatVersion: 1
  generatedAt: string
  filter: { from: string | null, to: string | null, type: string | null }
  period: { from: string | null, to: string | null }
  total: number
  byStatus: StatusCounts
  byType: TypeFigures[]
  /** Of the finished jobs that have both times. */
  durationMs: DurationFigures
  failures: { code: string, count: number }[]
}

const createTally = () => ({
  total: 0,
  byStatus: Object.fromEntries(recordStatuses.map(status => [status, 0])) as StatusCounts,
  durations: collectDurations()
})
type Tally = ReturnType<typeof createTally>

const toDuration = ({ status, startedAt, finishedAt }: RecordRow): number | null => {
  if (status !== 'Succeeded' && status !== 'Failed') return null
  return startedAt === null || finishedAt === null || finishedAt < startedAt ? null : finishedAt - startedAt
}

const addTo = (tally: Tally, row: RecordRow, durationMs: number | null) => {
  tally.total++
  if (Object.hasOwn(tally.byStatus, row.status)) tally.byStatus[row.status as RecordStatus]++
  if (durationMs !== null) tally.durations.add(durationMs)
}

const byNumberThenName = <Item>(number: (item: Item) => number, name: (item: Item) => string) =>
  (a: Item, b: Item) => number(b) - number(a) || (name(a) < name(b) ? -1 : 1)

const toFailures = (codes: ReadonlyMap<string, number>): Report['failures'] => {
  const uncounted = codes.get('OTHER') ?? 0
  const sorted = [...codes].filter(([code]) => code !== 'OTHER').map(([code, count]) => ({ code, count }))
    .sort(byNumberThenName(item => item.count, item => item.code))
  const rest = sorted.slice(codesMax).reduce((sum, { count }) => sum + count, uncounted)
  return [...sorted.slice(0, codesMax), ...(rest === 0 ? [] : [{ code: 'OTHER', count: rest }])]
}

/** Adds up rows created from `from` on and before `to` (milliseconds since 1970, or no limit). */
export const collectFigures = ({ from, to }: { from: number | undefined, to: number | undefined }) => {
  const all = createTally()
  const types = new Map<string, Tally>()
  const codes = new Map<string, number>()
  let first = Infinity
  let last = -Infinity

  const findTally = (type: string | null): Tally => {
    const name = type === null ? '(none)' : type.slice(0, nameLengthMax)
    const known = types.has(name) || types.size < typesMax ? name : '(other)'
    const tally = types.get(known) ?? createTally()
    types.set(known, tally)
    return tally
  }

  return {
    add (row: RecordRow) {
      const { createdAt } = row
      if (createdAt < (from ?? -Infinity) || createdAt >= (to ?? Infinity)) return
      first = Math.min(first, createdAt)
      last = Math.max(last, createdAt)
      const durationMs = toDuration(row)
      addTo(all, row, durationMs)
      addTo(findTally(row.type), row, durationMs)
      if (row.status === 'Failed') {
        const code = row.failureCode ?? 'UNSPECIFIED'
        const counted = codes.has(code) || codes.size < codesCountedMax ? code : 'OTHER'
        codes.set(counted, (codes.get(counted) ?? 0) + 1)
      }
    },
    toReport: (head: Pick<Report, 'generatedAt' | 'filter'>): Report => ({
      report: 'job-execution',
      formatVersion: 1,
      ...head,
      period: first > last ? { from: null, to: null } : { from: toIso(first), to: toIso(last) },
      total: all.total,
      byStatus: all.byStatus,
      byType: [...types]
        .map(([type, { total, byStatus, durations }]) => ({ type, total, byStatus, durationMs: durations.toFigures() }))
        .sort(byNumberThenName(item => item.total, item => item.type)),
      durationMs: all.durations.toFigures(),
      failures: toFailures(codes)
    })
  }
}
