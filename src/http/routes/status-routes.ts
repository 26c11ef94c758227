import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../errors.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import { toIso } from '../../job/time.ts'
import {
  conditionalHeaders, emptyResponse, failureResponses, jsonResponse, statusHeaders
} from '../openapi/responses.ts'
import { jobStatusExamples, taskStatusExamples } from '../openapi/examples.ts'
import { JobParams, TaskParams } from '../openapi/params.ts'
import type { LogResponse } from '../access-log.ts'
import type { AddCorsFields } from '../headers/cors.ts'
import { principalOf } from '../auth/principal.ts'
import { requireMatch } from '../headers/conditional.ts'
import { type GrantedWait, grantWait, mayWait, requireListening, waitParameter } from '../headers/wait.ts'
import type { WaitingClients } from '../limits/waiting-clients.ts'
import type { StatusAccess, VisibleStatus } from '../status-access.ts'
import type { ViewName } from '../paths.ts'
import { sendFreshPoll, sendPoll } from './send-status.ts'

const failureCodes: readonly FailureCode[] =
  ['UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const notModified = emptyResponse('The client has this version already.', statusHeaders)

/**
 * Gathers the work of one iteration of the event loop and does it at its end. When many clients poll, one iteration
 * finds many requests: reading them all, then answering them all, keeps the processor at one kind of work at a time,
 * and halves the cost of a response against doing each as it comes; their reads of a cache travel together, too. A
 * single request waits for nothing: the end of its iteration is now. Work that throws is passed to `onError`, and the
 * rest is done.
 */
export const createBatchPerTick = (onError: (error: unknown) => void): ((work: () => void) => void) => {
  let gathered: (() => void)[] = []
  const flush = () => {
    const works = gathered
    gathered = []
    for (const work of works) {
      try {
        work()
      } catch (error) {
        onError(error)
      }
    }
  }
  return work => {
    if (gathered.push(work) === 1) setImmediate(flush)
  }
}

export type StatusRouteNeeds = {
  statusAccess: Pick<StatusAccess, 'readVisible' | 'awaitVisible'>
  logResponse: LogResponse
  /** Each response closes its connection. */
  isDraining: () => boolean
  /** null: no page of another origin may read responses. */
  addCorsFields: AddCorsFields | null
  waitingClients: WaitingClients
  /** ms since 1970. */
  now: () => number
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
}

const StatusQuery = Type.Object({ wait: waitParameter })
const TaskStatusQuery = Type.Object({
  wait: waitParameter,
  fresh: Type.Optional(Type.Boolean({
    description: `For clients that give up on identical responses: each has its own \`observedAt\`, no ETag, and is to be
      stored nowhere; If-None-Match is ignored. Default: false.`.replaceAll(/\s+/g, ' ')
  }))
})

type Poll = {
  request: FastifyRequest, reply: FastifyReply, view: ViewName, id: string, wait: number | undefined, isFresh: boolean
}

const createPoll = (
  { statusAccess, logResponse, isDraining, addCorsFields, waitingClients, onShown, now }: StatusRouteNeeds,
  log: FastifyBaseLogger
) => {
  const logFailure = (error: unknown) => { log.error({ err: error }, 'the request failed') }
  const atEndOfTick = createBatchPerTick(logFailure)

  const respond = ({ request, reply, isFresh }: Poll, visible: VisibleStatus, applied?: string): void => {
    requireMatch(request.headers, visible.representation.eTag)
    if (isDraining()) reply.raw.shouldKeepAlive = false
    onShown(visible.representation.entry)
    const sent = isFresh
      ? sendFreshPoll(reply, visible, toIso(now()), addCorsFields, applied)
      : sendPoll(reply, visible, addCorsFields, applied)
    logResponse(request, sent)
  }

  const fail = (reply: FastifyReply, error: unknown): void => {
    if (!reply.sent) {
      reply.send(error)
      return
    }
    // The response is out of Fastify's hands: a client whose response is not complete must not wait for the rest of
    // it.
    if (!reply.raw.writableEnded) reply.raw.destroy()
    logFailure(error)
  }

  const toRead = ({ request, view, id, isFresh }: Poll) =>
    [view, id, principalOf(request), isFresh ? undefined : request.headers['if-none-match']] as const

  const respondAfter = async (poll: Poll, { applied, wait }: GrantedWait): Promise<void> => {
    const read = toRead(poll)
    // For a failure, which Fastify sends.
    poll.reply.header('preference-applied', applied)
    if (wait === null) return respond(poll, await statusAccess.readVisible(...read), applied)
    try {
      const awaited = await statusAccess.awaitVisible(...read, wait)
      if (awaited === null && !await requireListening(wait)) return
      respond(poll, awaited ?? await statusAccess.readVisible(...read), applied)
    } finally {
      wait.leave()
    }
  }

  return (poll: Poll): void => {
    const { request, reply } = poll
    const granted = grantWait(waitingClients, request, reply, poll.wait)
    if (granted !== undefined) {
      respondAfter(poll, granted).catch((error: unknown) => { fail(reply, error) })
      return
    }
    atEndOfTick(() => {
      try {
        const visible = statusAccess.readVisible(...toRead(poll))
        if (!(visible instanceof Promise)) return respond(poll, visible)
        visible.then(visible => { respond(poll, visible) }).catch((error: unknown) => { fail(reply, error) })
      } catch (error) {
        fail(reply, error)
      }
    })
  }
}

/** The status of a job, in both views: what the service is for. */
export const statusRoutes: FastifyPluginAsyncTypebox<StatusRouteNeeds> = (app, needs) => {
  const poll = createPoll(needs, app.log)

  app.get('/api/v1/jobs/:jobId', {
    config: { scope: 'jobs:read', evaluatesTags: true, logsItself: true },
    schema: {
      operationId: 'getJobStatus',
      summary: 'The status of a job',
      description: 'A known job is always 200, a failed one too. Poll no sooner than Retry-After says, with If-None-Match.',
      tags: ['Jobs'],
      params: JobParams,
      querystring: StatusQuery,
      headers: conditionalHeaders,
      response: mayWait({
        200: jsonResponse('The job as it is.', Type.Ref('JobStatus'), {
          headers: statusHeaders, examples: jobStatusExamples
        }),
        304: notModified,
        ...failureResponses(failureCodes, 'Problem')
      })
    }
  }, (request, reply) => {
    poll({ request, reply, view: 'v1', id: request.params.jobId, wait: request.query.wait, isFresh: false })
  })

  app.get('/api/jobs/:taskId/status', {
    config: { scope: 'jobs:read', evaluatesTags: true, logsItself: true },
    schema: {
      operationId: 'getTaskStatus',
      summary: 'The status of a task',
      description: '`success` says that this call worked, `data.isSuccess` that the job did.',
      tags: ['Tasks'],
      params: TaskParams,
      querystring: TaskStatusQuery,
      headers: conditionalHeaders,
      response: mayWait({
        200: jsonResponse('The task as it is.', Type.Ref('TaskStatus'), {
          headers: statusHeaders, examples: taskStatusExamples
        }),
        304: notModified,
        ...failureResponses([...failureCodes, 'INVALID_TASK_ID'], 'TaskError')
      })
    }
  }, (request, reply) => {
    const { wait, fresh: isFresh = false } = request.query
    poll({ request, reply, view: 'task', id: request.params.taskId, wait, isFresh })
  })
  return Promise.resolve()
}
