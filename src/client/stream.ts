import { JobServiceError } from './errors.ts'
import { type CallOptions, createRetry, isTransient, link, open, type Transport } from './transport.ts'

/*
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), read with fetch: EventSource
 * cannot send a token.
 */

/** An event of a stream. `data` is empty where only the id moves on: what happened meanwhile is not for this reader. */
export type StreamEvent = { event: string, id: string | undefined, data: string }

/**
 * `connecting`: the first connection is being made. `live`: what happens is received. `waiting`: the connection broke
 * off or could not be made, and is made again. `expired`: the place in the stream is no longer known, so the reader has
 * to list again. `ended`: nothing more comes.
 */
export type StreamState = 'connecting' | 'live' | 'waiting' | 'expired' | 'ended'

/** `onState` is called when the state changes; `error`: what it waits after or ends with, null if that is nothing. */
export type StateOptions = CallOptions & { onState?: (state: StreamState, error: unknown) => void }

/** `lastEventId`: where to go on; without, the stream decides where it begins. */
export type StreamOptions = StateOptions & { lastEventId?: string }

// The service sends a comment every 15 s.
const streamIdleMsMax = 45_000

/** Reads the next chunk. Throws if nothing comes for too long: then the connection is dead. */
export const readChunk = async (
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, idleMs: number
): Promise<Uint8Array<ArrayBuffer> | undefined> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const idle = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => { reject(new JobServiceError('UNREACHABLE', 'nothing arrives')) }, idleMs)
  })
  try {
    return (await Promise.race([reader.read(), idle])).value
  } finally {
    clearTimeout(timer)
  }
}

type Fields = Partial<Record<string, string>>

// `.` and `$` know more line breaks than the protocol: JSON text may have U+2028 in it.
const parseBlock = (block: string): Fields => Object.fromEntries(block.split('\n').map(line => {
  const colon = line.indexOf(': ')
  return [line.slice(0, colon), line.slice(colon + 2)]
}))

/** The events of a body, as the service writes them. */
async function * readEvents (body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Fields, void, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (let chunk; (chunk = await readChunk(reader, streamIdleMsMax)) !== undefined;) {
      const blocks = (text + decoder.decode(chunk, { stream: true })).split('\n\n')
      text = blocks.pop() ?? ''
      yield * blocks.map(parseBlock)
    }
  } finally {
    void reader.cancel().catch(() => {})
  }
}

/**
 * Follows a stream until it ends, connecting again after its last event where it is cut off. Throws what the service
 * says, and the reason of the signal.
 */
export async function * stream (
  transport: Transport, path: string, { lastEventId, signal, onState = () => {} }: StreamOptions
): AsyncGenerator<StreamEvent, void, void> {
  const retry = createRetry(transport)
  let lastId = lastEventId
  let pauseMs = 0
  let end: unknown = null
  onState('connecting', null)
  try {
    for (;;) {
      let failure: unknown = null
      const connection = link(signal)
      try {
        const { status, body } = await open({ ...transport, patienceMs: 0 }, path, {
          headers: { accept: 'text/event-stream', ...lastId === undefined ? {} : { 'last-event-id': lastId } },
          signal: connection.signal
        })
        // The last event was the end.
        if (status === 204 || body === null) return
        retry.answered()
        onState('live', null)
        for await (const { event = '', id, data = '', retry } of readEvents(body)) {
          signal?.throwIfAborted()
          if (retry !== undefined) pauseMs = Number(retry)
          lastId = id ?? lastId
          if (id !== undefined || data !== '') yield { event, id, data }
        }
      } catch (error) {
        // A long-lived stream outlasts a fault of the service too.
        if (!isTransient(error) && (error as JobServiceError).status < 500) throw error
        failure = error
      } finally {
        connection.unlink()
      }
      signal?.throwIfAborted()
      onState('waiting', failure)
      await retry.failed(failure ?? new JobServiceError('UNREACHABLE', 'the stream broke off'), signal, pauseMs)
    }
  } catch (error) {
    end = error
    throw error
  } finally {
    onState(end instanceof JobServiceError && end.code === 'CURSOR_EXPIRED' ? 'expired' : 'ended', end)
  }
}
