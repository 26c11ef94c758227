import { type Filters, isShown, isTooOld } from './filters.ts'
import type { Change, Job } from '../job.ts'

/*
 * The rows of the table: the newest jobs that the filters let through, from the pages of the list and the changes of the
 * feed. Versions decide which of two states of a job is newer, so pages and changes may come in any order.
 */

/** So many rows are kept; the older ones are left to narrower filters. */
export const rowsMax = 2000

/** A page of the list. */
export type ListPage = { items: readonly Job[], nextCursor: string | null }

type Row = { job: Job, createdMs: number }

const toRow = (job: Job): Row => ({ job, createdMs: Date.parse(job.createdAt) })

export class JobList {
  #filters: Filters
  #rows: Row[] = []
  #jobs: Job[] | null = null
  #byId = new Map<string, Row>()
  // Changes that arrive while a page is loaded: it may have been read before them.
  #missed: Map<string, Change> | null = null
  #cursor: string | null = null
  #isCut = false
  /** Of the last job of the pages so far, in ms since 1970. What is older is not loaded, while there is a cursor. */
  #oldestMs = Infinity

  constructor (filters: Filters) {
    this.#filters = filters
  }

  /** Newest first. */
  rows (): readonly Job[] {
    this.#jobs ??= this.#rows.map(({ job }) => job)
    return this.#jobs
  }

  find (jobId: string): Job | undefined {
    return this.#byId.get(jobId)?.job
  }

  indexOf (jobId: string): number {
    const row = this.#byId.get(jobId)
    return row === undefined ? -1 : this.#rows.indexOf(row)
  }

  /** The cursor of the next page; null: there is none, or the table is full. */
  nextCursor (): string | null {
    return this.#cursor
  }

  /** Whether there are older jobs than those that are kept. */
  isCut (): boolean {
    return this.#isCut
  }

  /** Begins again with the first page. */
  start (filters: Filters, page: ListPage): void {
    this.#filters = filters
    this.#rows = []
    this.#byId = new Map()
    this.#missed = null
    this.#isCut = false
    this.#oldestMs = Infinity
    this.append(page)
  }

  /** Whether a further page is being loaded. */
  expectPage (isExpected: boolean): void {
    this.#missed = isExpected ? new Map() : null
  }

  append ({ items, nextCursor }: ListPage): void {
    this.#jobs = null
    const missed = this.#missed
    this.#missed = null
    this.#cursor = nextCursor
    for (const job of items) this.#add(job)
    this.#oldestMs = Date.parse(items.at(-1)?.createdAt ?? '') || this.#oldestMs
    for (const change of missed?.values() ?? []) this.apply(change, -Infinity)
    this.#keepNewest()
  }

  /** `now`: of the service, in ms since 1970. */
  apply (change: Change, now: number): void {
    const { jobId, version, job } = change
    const known = this.#byId.get(jobId)
    if (known !== undefined && version <= known.job.version) return
    this.#jobs = null
    this.#missed?.set(jobId, change)
    const shown = job !== null && isShown(job, this.#filters, now) ? job : null
    if (known !== undefined && shown !== null && known.job.createdAt === shown.createdAt) {
      known.job = shown
      return
    }
    if (known !== undefined) this.#remove(known)
    if (shown === null) return
    const row = toRow(shown)
    if (this.#isBehindTheRows(row)) return
    this.#insert(row)
    this.#keepNewest()
  }

  /** Removes the rows that have become too old for the filter. Returns whether there were any. */
  removeOld (now: number): boolean {
    const count = this.#rows.length
    for (let last = this.#rows.at(-1); last !== undefined && isTooOld(last.job, this.#filters, now); last = this.#rows.at(-1)) {
      this.#remove(last)
    }
    if (this.#rows.length < count) this.#jobs = null
    return this.#rows.length < count
  }

  #remove (row: Row): void {
    this.#byId.delete(row.job.taskId)
    this.#rows.splice(this.#rows.indexOf(row), 1)
  }

  #keepNewest (): void {
    const { length } = this.#rows
    if (length < rowsMax || (length === rowsMax && this.#cursor === null)) return
    // The cursor goes on after the rows that are dropped here.
    this.#cursor = null
    this.#isCut = true
    for (const { job: { taskId } } of this.#rows.splice(rowsMax)) this.#byId.delete(taskId)
    this.#oldestMs = this.#rows.at(-1)?.createdMs ?? Infinity
  }

  #insert (row: Row): void {
    let [low, high] = [0, this.#rows.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#rows[middle]?.createdMs ?? 0) > row.createdMs) low = middle + 1
      else high = middle
    }
    this.#rows.splice(low, 0, row)
    this.#byId.set(row.job.taskId, row)
  }

  #isBehindTheRows ({ createdMs }: Row): boolean {
    return (this.#cursor !== null || this.#isCut) && createdMs < this.#oldestMs
  }

  #add (job: Job): void {
    const known = this.#byId.get(job.taskId)
    if (known !== undefined && job.version <= known.job.version) return
    // Another program may have made the job again, with another place in the list.
    if (known !== undefined) this.#remove(known)
    const row = toRow(job)
    this.#byId.set(job.taskId, row)
    this.#rows.push(row)
  }
}
