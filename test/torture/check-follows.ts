import type { Follow, History, Operation } from './history.ts'
import { type Bounds, describe, type Violation, visibleBy } from './rules.ts'

/*
 * Judges clients that follow changes. Each thing that they were given is also judged as of any read.
 */

/** Events and items that are older than what the same client was given before. */
export const findFallen = ({ jobs, operations }: History): Violation[] => operations.flatMap(operation => {
  const { job, least, version, endedAt } = operation
  if (least === undefined || version === null || version >= least) return []
  return [{ rule: 'fallen', at: endedAt, text: `${jobs[job] ?? ''}: ${version}, not ${least}: ${describe(operation)}` }]
})

type Rise = { job: number, version: number, at: number }

// When each version of a job was known to be there, for the first time; where it rose.
const findRises = ({ operations, foreignWrites }: Pick<History, 'operations' | 'foreignWrites'>): Rise[] => {
  const known = new Map<number, number>()
  const revealed = [
    ...operations.map(({ job, version, endedAt: at }: Operation) => ({ job, version: version ?? 0, at })),
    ...foreignWrites.map(({ job, version, committedAt: at }) => ({ job, version, at }))
  ].sort((a, b) => a.at - b.at)
  return revealed.filter(({ job, version }) => {
    if (version <= (known.get(job) ?? 0)) return false
    known.set(job, version)
    return true
  })
}

/** Changes that were there while a client followed all of them, and that it was not given in time. */
export const findMissed = ({ jobs, follows, ...history }: History, bounds: Bounds): Violation[] => {
  if (follows.length === 0) return []
  const faults = history.faults.toSorted((a, b) => a.from - b.from)
  const rises = findRises(history).map(rise => ({ ...rise, due: visibleBy(rise.at, bounds.noticeMs, faults, bounds) }))
  return follows.flatMap(({ from, until, who, got }: Follow) => {
    const gotOf = Map.groupBy(got, ({ job }) => job)
    return rises.flatMap(({ job, version, at, due }): Violation[] => {
      if (at <= from || due >= until) return []
      if (gotOf.get(job)?.some(each => each.version >= version && each.at <= due) === true) return []
      return [{ rule: 'missed', at: due, text: `${jobs[job] ?? ''}: ${version} was there at ${at.toFixed(1)}: ${who}` }]
    })
  })
}

/** Clients whose copy of the jobs is not the database. */
export const findDiverged = ({ jobs, mirrors, records }: History, overAt: number): Violation[] =>
  mirrors.flatMap(({ who, versions }) => {
    const held = new Map(versions.map(({ job, version }) => [jobs[job], version]))
    const wrong = records.filter(({ jobId, version }) => held.get(jobId) !== version)
      .map(({ jobId, version }) => `${jobId} is at ${version}, not ${held.get(jobId) ?? 'missing'}`)
    const there = new Set(records.map(({ jobId }) => jobId))
    const unknown = [...held.keys()].filter(jobId => jobId !== undefined && !there.has(jobId))
      .map(jobId => `${jobId ?? ''} is not there`)
    return [...wrong, ...unknown].map(text => ({ rule: 'diverged' as const, at: overAt, text: `${text}: ${who}` }))
  })
