import type { JobServiceError, operations, StreamState } from '../../../client/client.ts'
import { type Api, toFailure } from '../../api/api.ts'
import { follow, type Following } from '../../api/follow.ts'
import { type Job, toJobPath } from '../job.ts'
import { type Content, loadContent } from './preview.ts'
import type { Schedule } from '../schedule.ts'

/*
 * One job: its events, and what is asked for when they show that there is something new.
 */

type Items<Operation extends { responses: { 200: { content: { 'application/json': { items: unknown[] } } } } }> =
  Operation['responses'][200]['content']['application/json']['items'][number]

export type Attempt = Items<operations['listAttempts']>
export type Callback = Items<operations['listCallbacks']>

/** Something that is loaded for a job; `error`: why it is not there. */
export type Part<Value> = { value: Value | null, error: JobServiceError | null }

export type JobPageNeeds = {
  api: Api
  has: (scope: string) => boolean
  /** Of the service, in ms since 1970. */
  now: () => number
  schedule: Schedule
  createUrl: (blob: Blob) => string
  revokeUrl: (url: string) => void
  onChange: () => void
}

/** What the page shows of a job. `seenAt`: when its last state arrived. */
export type JobView = {
  jobId: string
  job: Job | null
  seenAt: number
  stream: StreamState
  error: JobServiceError | null
  isGone: boolean
  attempts: Part<readonly Attempt[]>
  callbacks: Part<readonly Callback[]>
  input: Part<Content>
  result: Part<Content>
  /** What the last command said. */
  notice: string | null
}

type PartName = 'attempts' | 'callbacks' | 'input' | 'result'

// The service may be restarting.
const loadMsMax = 20_000

const nothing = { value: null, error: null }

const startView = (jobId: string): JobView => ({
  jobId,
  job: null,
  seenAt: 0,
  stream: 'connecting',
  error: null,
  isGone: false,
  attempts: nothing,
  callbacks: nothing,
  input: nothing,
  result: nothing,
  notice: null
})

export class JobPage {
  readonly #needs: JobPageNeeds
  #view: JobView | null = null
  #following: Following | null = null
  #loads = new AbortController()
  #retry = { cancel: () => {} }

  constructor (needs: JobPageNeeds) {
    this.#needs = needs
  }

  view (): JobView | null { return this.#view }

  show (jobId: string): void {
    const view = this.#view
    if (view?.jobId === jobId && this.#following !== null && view.stream !== 'ended') return
    if (view?.jobId !== jobId) {
      this.#release()
      this.#view = startView(jobId)
    }
    this.#start(jobId)
    this.#needs.onChange()
  }

  hide (): void {
    this.#stop()
    this.#release()
    this.#view = null
  }

  async cancel (): Promise<void> {
    await this.#run('/cancel', 'POST', 'The job was asked to stop.')
  }

  async erase (): Promise<void> {
    const jobId = this.#view?.jobId ?? ''
    if (await this.#run('', 'DELETE', 'The job was erased.')) this.#update(jobId, { isGone: true })
  }

  async redeliver (callbackId: string): Promise<void> {
    const jobId = this.#view?.jobId ?? ''
    const path = `/callbacks/${encodeURIComponent(callbackId)}/redeliver`
    if (await this.#run(path, 'POST', 'The callback is being sent again.')) await this.#loadCallbacks(jobId)
  }

  #update (jobId: string, change: Partial<JobView>): void {
    if (this.#view?.jobId !== jobId) return
    this.#view = { ...this.#view, ...change }
    this.#needs.onChange()
  }

  /** Lets go of the images. */
  #release (): void {
    for (const part of [this.#view?.input, this.#view?.result]) {
      if (part?.value?.preview.kind === 'image') this.#needs.revokeUrl(part.value.preview.url)
    }
  }

  async #load<Name extends PartName> (
    jobId: string, name: Name, read: (signal: AbortSignal) => Promise<NonNullable<JobView[Name]['value']>>
  ): Promise<void> {
    const { signal } = this.#loads
    try {
      const value = await read(signal)
      if (!signal.aborted) this.#update(jobId, { [name]: { value, error: null } })
    } catch (error) {
      if (!signal.aborted) this.#update(jobId, { [name]: { value: null, error: toFailure(error) } })
    }
  }

  #loadItems (jobId: string, name: 'attempts' | 'callbacks'): Promise<void> {
    const { api } = this.#needs
    return this.#load(jobId, name, async signal =>
      (await api.json<{ items: never[] }>(`${toJobPath(jobId)}/${name}`, { signal, patienceMs: loadMsMax })).items)
  }

  #loadBytes (jobId: string, name: 'input' | 'result'): Promise<void> {
    return this.#load(jobId, name, signal =>
      loadContent(this.#needs, `${toJobPath(jobId)}/${name}`, `${jobId}.${name}`, { signal, patienceMs: loadMsMax }))
  }

  /** Deliveries have no events: while one is due, it is asked for when it should have been made. */
  async #loadCallbacks (jobId: string): Promise<void> {
    const { has, now, schedule } = this.#needs
    if (!has('jobs:write')) return
    this.#retry.cancel()
    await this.#loadItems(jobId, 'callbacks')
    const due = (this.#view?.callbacks.value ?? []).filter(({ state }) => state === 'pending')
      .map(({ nextTryAt }) => Date.parse(nextTryAt ?? '')).filter(Number.isFinite)
    if (due.length === 0 || this.#view?.jobId !== jobId) return
    this.#retry = schedule(() => { void this.#loadCallbacks(jobId) }, Math.max(1000, Math.min(...due) - now() + 1000))
  }

  /** `isFirst`: of this stream, so that what was missed, or was rejected with an old token, is loaded now. */
  #onJob (jobId: string, job: Job, isFirst: boolean): void {
    const before = this.#view?.job ?? null
    this.#update(jobId, { job, seenAt: this.#needs.now(), error: null })
    if (isFirst || before?.attempt !== job.attempt || before.status !== job.status) {
      void this.#loadItems(jobId, 'attempts')
      void this.#loadCallbacks(jobId)
    }
    if (isFirst && this.#view?.input.value == null) void this.#loadBytes(jobId, 'input')
    const isNew = isFirst ? this.#view?.result.value == null : before?.resultAvailable !== true
    if (job.resultAvailable && isNew) void this.#loadBytes(jobId, 'result')
  }

  #stop (): void {
    this.#loads.abort()
    this.#retry.cancel()
    this.#following?.stop()
    this.#following = null
  }

  #start (jobId: string): void {
    this.#stop()
    this.#loads = new AbortController()
    let isFirst = true
    this.#following = follow({
      ...this.#needs,
      path: `/api/jobs/${encodeURIComponent(jobId)}/events`,
      lastEventId: null,
      onEvent: ({ event, data }) => {
        if (event === 'gone') return this.#update(jobId, { isGone: true })
        this.#onJob(jobId, (JSON.parse(data) as { data: Job }).data, isFirst)
        isFirst = false
      },
      onState: (stream, error) => { this.#update(jobId, { stream, ...error === null ? {} : { error } }) }
    })
  }

  /** Runs a command for the job that is shown; `said`: what it leads to. */
  async #run (path: string, method: string, said: string): Promise<boolean> {
    const jobId = this.#view?.jobId ?? ''
    try {
      await this.#needs.api.request(`${toJobPath(jobId)}${path}`, { method })
      this.#update(jobId, { notice: said })
      return true
    } catch (error) {
      this.#update(jobId, { notice: toFailure(error).message })
      return false
    }
  }
}
