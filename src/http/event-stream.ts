import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../errors.ts'
import { principalOf } from './auth/principal.ts'
import type { AddCorsFields } from './headers/cors.ts'
import type { Wait, WaitingClients } from './limits/waiting-clients.ts'
import type { SchedulePings } from './pings.ts'

/*
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). The response goes past Fastify:
 * its headers are sent with the first event, and it ends with the wait of its client.
 */

/** The headers of every stream. */
export const streamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  vary: 'Authorization, Accept',
  // nginx would hold events back until it has some kilobytes of them.
  'x-accel-buffering': 'no'
} as const
const fields: readonly string[] = Object.entries(streamHeaders).flat()

// A browser waits so many ms before it connects again.
const reconnectMs = 2000

/** One event. `data` is JSON text; `id` null leaves the client's last one as it is. */
export type ServerEvent = { event: string, id: string | null, data: string }

// A line break in JSON text is blank space: within a string it would be escaped.
const toLine = (json: string): string => json.replaceAll(/[\r\n]/g, ' ')

/** The event as it is sent. */
export const toEventText = ({ event, id, data }: ServerEvent): string =>
  `event: ${event}\n${id === null ? '' : `id: ${id}\n`}data: ${toLine(data)}\n\n`

const tooManyWait = () => new ServiceFailure(
  'OVERLOADED', 'Too many clients wait, or the process is about to end. Retry later, or poll.', { retryAfterSeconds: 1 }
)

/** Lets a client follow a stream for as long as it wants to. Throws OVERLOADED if too many clients wait. */
export const admitStream = (
  waitingClients: WaitingClients, kind: 'stream' | 'feed', request: FastifyRequest, reply: FastifyReply
): Wait => {
  const wait = waitingClients.admit(kind, principalOf(request), Infinity, reply.raw)
  if (wait === null) throw tooManyWait()
  return wait
}

/** The id of the event that the client got last, if it got one. */
export const lastEventIdOf = ({ headers: { 'last-event-id': id } }: FastifyRequest): string | undefined =>
  typeof id === 'string' ? id : undefined

export type EventStream = {
  /** Sends whole events. What many streams send is made into bytes once. */
  send: (events: string | Buffer) => void
  /** Whether the client has taken most of what was sent; if not, `onReady` follows. */
  isReady: () => boolean
  /** Ends the response after what was sent. */
  end: () => void
}

export type EventStreamNeeds = {
  reply: FastifyReply
  wait: Wait
  /** null: no page of another origin may read responses. */
  addCorsFields: AddCorsFields | null
  schedulePings: SchedulePings
  /** What is sent now and then so that the connection is not idle; a comment, or more. */
  toPing?: () => string
  /** The client has taken what was sent. */
  onReady: () => void
  /** The stream is over, whatever ended it. */
  onEnd: () => void
}

/** Begins the response. A client that takes nothing for two pings in a row is disconnected. */
export const openEventStream = (
  { reply, wait, addCorsFields, schedulePings, toPing = () => ': ping\n\n', onReady, onEnd }: EventStreamNeeds
): EventStream => {
  const { raw: response, request } = reply
  let isOver = false
  let isStuck = false

  const ping = (): void => {
    if (response.writableNeedDrain) {
      if (isStuck) {
        response.destroy()
        return
      }
      isStuck = true
    } else {
      isStuck = false
      response.write(toPing())
    }
  }

  const end = (): void => {
    if (isOver) return
    isOver = true
    pings.cancel()
    wait.leave()
    response.end()
    onEnd()
  }

  response.writeHead(200, addCorsFields?.(request.raw, fields) ?? [...fields])
  reply.hijack()
  response.write(`retry: ${reconnectMs}\n\n`)
  response.on('drain', onReady)
  const pings = schedulePings(ping)
  void wait.ended.then(end)
  return {
    send: events => { if (!isOver) response.write(events) },
    isReady: () => !isOver && !response.writableNeedDrain,
    end
  }
}
