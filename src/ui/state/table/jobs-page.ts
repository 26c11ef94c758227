import type { JobServiceError, StreamState } from '../../../client/client.ts'
import { type Api, isFinal, toFailure } from '../../api/api.ts'
import { follow, type Following } from '../../api/follow.ts'
import { type Filters, noFilters, toListQuery } from './filters.ts'
import type { Change, Job } from '../job.ts'
import { JobList, rowsMax } from './job-list.ts'
import type { Schedule } from '../schedule.ts'

/*
 * The table: lists the jobs, follows the change feed from there, and lists again where the feed cannot go on. While the
 * table is not visible nothing is followed; the feed then goes on from where it was.
 */

const pageSize = 200
// After such a pause a new list costs less than the changes that were missed.
const missedMsMax = 60_000
const retryMs = 2000

export type JobsPageNeeds = {
  api: Api
  /** Of the service, in ms since 1970. */
  now: () => number
  schedule: Schedule
  /** Something is to be shown. */
  onChange: () => void
  /** A response with the time of the service. */
  onResponse: (response: Response) => void
}

type Loaded = { items: Job[], nextCursor: string | null }

const equal = (a: Filters, b: Filters): boolean => JSON.stringify(a) === JSON.stringify(b)

export class JobsPage {
  readonly list = new JobList(noFilters)
  readonly #needs: JobsPageNeeds
  readonly #types = new Set<string>()
  #filters = noFilters
  #isVisible = false
  #following: Following | null = null
  #place: string | null = null
  #placeAt = 0
  #stream: StreamState = 'connecting'
  #error: JobServiceError | null = null
  #loading: AbortController | null = null
  #selectedId: string | null = null
  #held: Map<string, Change> | null = null
  #retry = { cancel: () => {} }

  constructor (needs: JobsPageNeeds) {
    this.#needs = needs
  }

  filters (): Filters { return this.#filters }
  stream (): StreamState { return this.#stream }
  /** What the list could not be loaded for. */
  error (): JobServiceError | null { return this.#error }
  isLoading (): boolean { return this.#loading !== null }
  /** The types that were seen so far. */
  types (): readonly string[] { return [...this.#types].sort() }
  selectedId (): string | null { return this.#selectedId }
  /** How many jobs have changed while the table is held, counted to one more than it has rows; null: it is not. */
  held (): number | null { return this.#held?.size ?? null }

  select (jobId: string | null): void {
    this.#selectedId = jobId
    this.#needs.onChange()
  }

  /** Shows and follows the jobs that the filters let through. */
  show (filters: Filters): void {
    const isSame = equal(filters, this.#filters)
    this.#filters = filters
    const isFollowing = this.#loading !== null || (this.#following !== null && this.#stream !== 'ended')
    if (this.#isVisible && isSame && isFollowing) return
    this.#isVisible = true
    this.#stop()
    if (isSame && this.#place !== null && this.#needs.now() - this.#placeAt < missedMsMax) this.#followFrom(this.#place)
    else this.#reload()
  }

  /** Stops following, until `show`. */
  hide (): void {
    this.#isVisible = false
    this.#stop()
  }

  /** Forgets the jobs, and lists again: the token now belongs to another user, or there is none. */
  reset (): void {
    this.#place = null
    this.#selectedId = null
    this.list.start(this.#filters, { items: [], nextCursor: null })
    if (this.#isVisible) this.#reload()
  }

  loadMore (): void {
    const cursor = this.list.nextCursor()
    if (cursor === null || this.#loading !== null) return
    this.#load(cursor, page => { this.list.append(page) })
  }

  /** Holds the table as it is, or lets it go on. */
  toggleHold (): void {
    const changes = this.#held
    this.#held = changes === null ? new Map() : null
    if (changes !== null && changes.size > rowsMax) this.#reload()
    else for (const change of changes?.values() ?? []) this.list.apply(change, this.#needs.now())
    this.#needs.onChange()
  }

  #notice (job: Job | null): void {
    if (job?.type != null && this.#types.size < 200) this.#types.add(job.type)
  }

  #stop (): void {
    this.#retry.cancel()
    this.#loading?.abort()
    this.#loading = null
    if (this.#following === null) return
    this.#place = this.#following.lastEventId()
    this.#placeAt = this.#needs.now()
    this.#following.stop()
    this.#following = null
  }

  #onChange (change: Change): void {
    this.#notice(change.job)
    if (this.#held === null) this.list.apply(change, this.#needs.now())
    // Of more changes than the table has rows a new list is made.
    else if (this.#held.size <= rowsMax) this.#held.set(change.jobId, change)
    this.#needs.onChange()
  }

  #followFrom (cursor: string): void {
    const { type } = this.#filters
    this.#following = follow({
      ...this.#needs,
      path: `/api/events${type === '' ? '' : `?type=${encodeURIComponent(type)}`}`,
      lastEventId: cursor,
      onEvent: ({ data }) => { this.#onChange(JSON.parse(data) as Change) },
      onState: (state, error) => {
        this.#stream = state
        this.#error = error
        if (state === 'expired') this.#reload()
        this.#needs.onChange()
      }
    })
  }

  async #fetchPage (cursor: string | null, signal: AbortSignal): Promise<{ page: Loaded, changes: string }> {
    const { api, now, onResponse } = this.#needs
    const query = toListQuery(this.#filters, now())
    query.set('limit', String(pageSize))
    if (cursor !== null) query.set('cursor', cursor)
    const response = await api.request(`/api/jobs?${query}`, { signal })
    onResponse(response)
    const { data } = await response.json() as { data: Loaded }
    for (const job of data.items) this.#notice(job)
    return { page: data, changes: response.headers.get('changes-cursor') ?? '' }
  }

  /** Loads a page; what fails is tried again, unless the service rejects the request. */
  #load (cursor: string | null, use: (page: Loaded, changes: string) => void): void {
    const own = new AbortController()
    this.#loading = own
    const done = (failure: JobServiceError | null): void => {
      this.#loading = null
      this.#error = failure
      this.list.expectPage(false)
      this.#needs.onChange()
    }
    this.list.expectPage(true)
    this.#fetchPage(cursor, own.signal).then(
      ({ page, changes }) => {
        if (own.signal.aborted) return
        use(page, changes)
        done(null)
        // A page can be short, even empty, before the end of the list.
        if (this.list.rows().length < pageSize) this.loadMore()
      },
      (error: unknown) => {
        if (own.signal.aborted) return
        const failure = toFailure(error)
        done(failure)
        if (isFinal(failure)) return
        this.#retry = this.#needs.schedule(() => { this.#load(cursor, use) }, failure.retryAfterMs || retryMs)
      }
    )
    this.#needs.onChange()
  }

  #reload (): void {
    this.#stop()
    this.#place = null
    if (this.#held !== null) this.#held = new Map()
    this.#load(null, (page, changes) => {
      this.list.start(this.#filters, page)
      this.#followFrom(changes)
    })
  }
}
