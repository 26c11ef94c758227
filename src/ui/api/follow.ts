import { JobServiceError, type StreamState } from '../../client/client.ts'
import type { Api } from './api.ts'

/*
 * A stream of events with callbacks, followed until it ends or is stopped.
 */

export type FollowNeeds = {
  api: Pick<Api, 'stream'>
  path: string
  /** Where to begin; null: the stream decides. */
  lastEventId: string | null
  onEvent: (event: { event: string, data: string }) => void
  /** `error`: what ended it, or what it waits after. */
  onState: (state: StreamState, error: JobServiceError | null) => void
}

export type Following = { lastEventId: () => string | null, stop: () => void }

/** Follows a stream, however long the service is away. */
export const follow = ({ api, path, lastEventId: begin, onEvent, onState }: FollowNeeds): Following => {
  const stopping = new AbortController()
  const { signal } = stopping
  let lastEventId = begin
  let isOver = false
  const report = (state: StreamState, error: unknown): void => {
    if (isOver) return
    isOver = state === 'ended' || state === 'expired'
    onState(state, error instanceof JobServiceError ? error : null)
  }
  const read = async (): Promise<void> => {
    const events = api.stream(path, {
      ...begin === null ? {} : { lastEventId: begin }, signal, patienceMs: Infinity, onState: report
    })
    for await (const { event, id, data } of events) {
      lastEventId = id ?? lastEventId
      if (data !== '') onEvent({ event, data })
    }
  }
  read().catch((error: unknown) => {
    // What the service says was reported as a state.
    if (!signal.aborted && !(error instanceof JobServiceError)) throw error
  })
  return {
    lastEventId: () => lastEventId,
    stop: () => {
      stopping.abort()
      report('ended', null)
    }
  }
}
