import type { JobServiceError } from '../../../client/client.ts'
import { type Api, toFailure } from '../../api/api.ts'
import type { Schedule } from '../schedule.ts'
import type { Sample, ServiceState } from './service.ts'

/*
 * The state of the service: all samples once, then those that are new. There is no stream of them.
 */

/** `samples`: of the last hour, oldest first. */
export type ServiceView = { state: ServiceState | null, samples: readonly Sample[], error: JobServiceError | null }

const hourMs = 3_600_000
const retryMs = 5000

const nothing: ServiceView = { state: null, samples: [], error: null }

export type ServicePageNeeds = { api: Api, schedule: Schedule, onChange: () => void }

export class ServicePage {
  readonly #needs: ServicePageNeeds
  #view = nothing
  #isVisible = false
  #connection = new AbortController()
  #timer = { cancel: () => {} }

  constructor (needs: ServicePageNeeds) {
    this.#needs = needs
  }

  view (): ServiceView { return this.#view }

  /** Reads the state now, and then as often as there are samples. */
  show (): void {
    if (this.#isVisible) return
    this.#isVisible = true
    void this.#read()
  }

  hide (): void {
    this.#isVisible = false
    this.#timer.cancel()
    this.#connection.abort()
  }

  /** What was read belongs to the token before. */
  reset (): void {
    this.hide()
    this.#view = nothing
  }

  /** `isWhole`: all samples of the process that answers. */
  async #read (isWhole = false): Promise<void> {
    this.#connection = new AbortController()
    const { signal } = this.#connection
    const { api, schedule, onChange } = this.#needs
    const { state: before, samples } = this.#view
    const last = isWhole ? undefined : samples.at(-1)?.at
    const query = last === undefined ? '' : `?since=${encodeURIComponent(last)}`
    try {
      const state = await api.json<ServiceState>(`/api/v1/service${query}`, { signal })
      // Behind one address there may be several processes, each with samples of its own.
      const isOther = before !== null && before.process.id !== state.process.id
      if (isOther && !isWhole) return await this.#read(true)
      this.#view = { state, samples: this.#join(isWhole ? [] : samples, state), error: null }
    } catch (error) {
      if (signal.aborted) return
      this.#view = { ...this.#view, error: toFailure(error) }
    }
    onChange()
    if (this.#view.error?.status === 401 || this.#view.error?.status === 403) {
      // It is read again with another token.
      this.#isVisible = false
      return
    }
    const ms = this.#view.error === null ? (this.#view.state?.sampleSeconds ?? 0) * 1000 : retryMs
    this.#timer = schedule(() => { void this.#read() }, ms)
  }

  #join (samples: readonly Sample[], { samples: more, current }: ServiceState): readonly Sample[] {
    const oldest = Date.parse(current.at) - hourMs
    return [...samples, ...more].filter(({ at }) => Date.parse(at) >= oldest)
  }
}
