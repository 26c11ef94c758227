import { createParser } from '../libraries.ts'
import { type Api, ApiError } from './api.ts'

/*
 * A stream of events that is read with fetch (EventSource cannot send a token), and opened again after the last event
 * when it breaks off.
 */

/** `expired`: the place in the stream is no longer known, so the reader has to list again. */
export type StreamState = 'connecting' | 'live' | 'waiting' | 'expired' | 'ended'

export type FollowNeeds = {
  api: Api
  path: string
  /** Where to begin; null: the stream decides. */
  lastEventId: string | null
  onEvent: (event: { event: string, data: string }) => void
  /** `error`: what ended it, or what it waits after. */
  onState: (state: StreamState, error: ApiError | null) => void
  /** In [0, 1). */
  random: () => number
  schedule: Schedule
}

/** Calls back after some ms, unless cancelled. */
export type Schedule = (work: () => void, ms: number) => { cancel: () => void }

export type Following = { lastEventId: () => string | null, stop: () => void }

const retryMsMin = 500
const retryMsMax = 10_000
// The service sends something every 15 s.
const silenceMsMax = 40_000

type ReadNeeds = { onBytes: () => void, onId: (id: string) => void, onEvent: FollowNeeds['onEvent'] }

const readEvents = async (body: ReadableStream<Uint8Array>, { onBytes, onId, onEvent }: ReadNeeds): Promise<void> => {
  const decoder = new TextDecoder()
  const parser = createParser({
    // Pings have an id and no data.
    onId: id => { if (id !== '') onId(id) },
    onEvent: ({ event = 'message', data }) => { onEvent({ event, data }) }
  })
  const reader = body.getReader()
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    onBytes()
    parser.feed(decoder.decode(value, { stream: true }))
  }
}

const toRetryMs = (failures: number, error: ApiError | null, random: number): number => {
  const growing = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(failures, 6))
  return Math.max(error?.retryAfterMs ?? 0, growing * (0.5 + random / 2))
}

/** Follows a stream until it ends or is stopped. */
export const follow = (needs: FollowNeeds): Following => {
  const { api, path, onEvent, onState, random, schedule } = needs
  let { lastEventId } = needs
  let failures = 0
  let isOver = false
  let timer = { cancel: () => {} }
  let connection = new AbortController()

  const end = (state: StreamState, error: ApiError | null = null): void => {
    isOver = true
    timer.cancel()
    connection.abort()
    onState(state, error)
  }

  const watchSilence = (): void => {
    timer.cancel()
    timer = schedule(() => { connection.abort() }, silenceMsMax)
  }

  const connect = async (): Promise<void> => {
    if (isOver) return
    connection = new AbortController()
    let error: ApiError | null = null
    try {
      watchSilence()
      const response = await api.send(path, {
        signal: connection.signal,
        headers: { accept: 'text/event-stream', ...lastEventId === null ? {} : { 'last-event-id': lastEventId } }
      })
      if (response.status === 204 || response.body === null) return end('ended')
      failures = 0
      onState('live', null)
      await readEvents(response.body, { onBytes: watchSilence, onId: id => { lastEventId = id }, onEvent: event => { if (!isOver) onEvent(event) } })
    } catch (thrown) {
      error = thrown instanceof ApiError ? thrown : null
    }
    if (isOver) return
    if (error?.status === 410) return end('expired', error)
    // Any other rejection is final: a token that is missing or expired, a job that is gone.
    if (error !== null && error.status >= 400 && error.status < 500 && error.status !== 429) return end('ended', error)
    onState('waiting', error)
    timer.cancel()
    timer = schedule(() => { void connect() }, toRetryMs(failures, error, random()))
    failures++
  }

  onState('connecting', null)
  void connect()
  return {
    lastEventId: () => lastEventId,
    stop: () => { if (!isOver) end('ended') }
  }
}
