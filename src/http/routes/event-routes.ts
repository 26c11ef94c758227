import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../errors.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { LogResponse } from '../access-log.ts'
import { principalOf } from '../auth/principal.ts'
import { admitStream, lastEventIdOf, openEventStream, streamHeaders, toEventText } from '../event-stream.ts'
import type { AddCorsFields } from '../headers/cors.ts'
import type { WaitingClients } from '../limits/waiting-clients.ts'
import { eventStream } from '../openapi/content.ts'
import { jobStatusExamples, taskStatusExamples } from '../openapi/examples.ts'
import { JobParams, TaskParams } from '../openapi/params.ts'
import { emptyResponse, failureResponses } from '../openapi/responses.ts'
import type { ViewName } from '../paths.ts'
import type { SchedulePings } from '../pings.ts'
import type { Representation } from '../representation.ts'
import { isUnfinished } from '../status-access.ts'
import { type FollowStatus, toEventId } from '../status-events.ts'
import { bodyOf } from './send-status.ts'

export type EventRouteNeeds = {
  followStatus: FollowStatus
  /** Part of every event's id. */
  incarnation: string
  waitingClients: WaitingClients
  schedulePings: SchedulePings
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
  logResponse: LogResponse
  /** null: no page of another origin may read responses. */
  addCorsFields: AddCorsFields | null
}

type EventRequest = { request: FastifyRequest, reply: FastifyReply, view: ViewName, id: string }

const sendEnded = (reply: FastifyReply, code: 200 | 204): FastifyReply =>
  reply.code(code).headers(code === 200 ? streamHeaders : { 'cache-control': streamHeaders['cache-control'] }).send()

const createSendEvents = (needs: EventRouteNeeds) => {
  const { followStatus, incarnation, waitingClients, schedulePings, onShown, logResponse, addCorsFields } = needs

  const toText = ({ view, id }: EventRequest, next: Representation | null): string => next === null
    ? toEventText({ event: 'gone', id: null, data: JSON.stringify(view === 'v1' ? { jobId: id } : { taskId: id }) })
    : toEventText({ event: 'status', id: toEventId(incarnation, next.entry), data: bodyOf(next) })

  const sendHead = async ({ request, reply, view, id }: EventRequest): Promise<FastifyReply> => {
    const { isKnown, isLast, unfollow } =
      await followStatus(view, id, principalOf(request), lastEventIdOf(request), () => {})
    unfollow()
    return await sendEnded(reply, isKnown && isLast ? 204 : 200)
  }

  return async (eventRequest: EventRequest): Promise<FastifyReply> => {
    const { request, reply, view, id } = eventRequest
    if (request.method === 'HEAD') return await sendHead(eventRequest)
    const wait = admitStream(waitingClients, 'stream', request, reply)
    // Only the newest status: a slow client misses those between.
    let pending: Representation | null | undefined
    let flush = (): void => {}
    try {
      const { representation, isKnown, isLast, unfollow } =
        await followStatus(view, id, principalOf(request), lastEventIdOf(request), next => {
          pending = next
          flush()
        })
      if (pending === undefined && isKnown && isLast) {
        unfollow()
        wait.leave()
        return await sendEnded(reply, 204)
      }
      if (!isKnown) pending ??= representation
      const stream = openEventStream({
        reply, wait, addCorsFields, schedulePings, onReady: () => { flush() }, onEnd: unfollow
      })
      flush = () => {
        if (pending === undefined || !stream.isReady()) return
        const next = pending
        pending = undefined
        stream.send(toText(eventRequest, next))
        if (next !== null) onShown(next.entry)
        if (next === null || !isUnfinished(next.entry)) stream.end()
      }
      flush()
      logResponse(request, 200)
      return reply
    } catch (error) {
      wait.leave()
      throw error
    }
  }
}

const failureCodes: readonly FailureCode[] =
  ['UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const description = `A stream of events (text/event-stream): the status as it is, then each newer one, as \`event: status\`
with the body of the status route as its data. After that of a finished job the stream ends. \`event: gone\`: the job was
erased, or is no longer yours to see. A client that reconnects with the Last-Event-ID of the last event gets 204. A client
that reads slowly gets the newest status and misses those between.`

const streamResponses = (example: object, shape: 'Problem' | 'TaskError', more: readonly FailureCode[]) => ({
  200: {
    description: 'The events.',
    headers: {
      'Cache-Control': Type.String({ description: 'no-store' }),
      Vary: Type.String({ description: 'Authorization, Accept' }),
      'X-Accel-Buffering': Type.String({ description: 'no' })
    },
    content: eventStream(toEventText({ event: 'status', id: '5f0c3a9be1d27c44.42', data: JSON.stringify(example) }))
  },
  204: emptyResponse('The job has finished, and the client has its last status.', {
    'Cache-Control': Type.String({ description: 'no-store' })
  }),
  ...failureResponses([...failureCodes, ...more], shape)
})

const headers = Type.Object({
  'last-event-id': Type.Optional(Type.String({ description: 'The id of the last event that the client got.' }))
})

/** Streams the events of a job, in both views. */
export const eventRoutes: FastifyPluginAsyncTypebox<EventRouteNeeds> = (app, needs) => {
  const sendEvents = createSendEvents(needs)

  app.get('/api/v1/jobs/:jobId/events', {
    config: { scope: 'jobs:read', logsItself: true },
    schema: {
      operationId: 'streamJobEvents',
      summary: 'The events of a job',
      description,
      tags: ['Jobs'],
      params: JobParams,
      headers,
      response: streamResponses(jobStatusExamples.running.value, 'Problem', [])
    }
  }, (request, reply) => sendEvents({ request, reply, view: 'v1', id: request.params.jobId }))

  app.get('/api/jobs/:taskId/events', {
    config: { scope: 'jobs:read', logsItself: true },
    schema: {
      operationId: 'streamTaskEvents',
      summary: 'The events of a task',
      description,
      tags: ['Tasks'],
      params: TaskParams,
      headers,
      response: streamResponses(taskStatusExamples.running.value, 'TaskError', ['INVALID_TASK_ID'])
    }
  }, (request, reply) => sendEvents({ request, reply, view: 'task', id: request.params.taskId }))
  return Promise.resolve()
}
