import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../errors.ts'
import { conditionalHeaders, emptyResponse, failureResponses, jsonResponse, statusHeaders } from '../openapi/responses.ts'
import { jobStatusExamples, taskStatusExamples } from '../openapi/examples.ts'
import type { LogResponse } from '../access-log.ts'
import { createBatchPerTick } from './end-of-turn.ts'
import { principalOf } from '../auth/principal.ts'
import type { StatusAccess, VisibleStatus } from '../status-access.ts'
import type { ViewName } from '../paths.ts'
import { sendPoll } from './send-status.ts'

const failureCodes: readonly FailureCode[] =
  ['UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const notModified = emptyResponse('The client has this version already.', statusHeaders)

/** `account` is told of every answer; `isDraining`: connections are to be closed. */
export type StatusRouteNeeds = { statusAccess: StatusAccess, logResponse: LogResponse, isDraining: () => boolean }

/** What the service is for: how a job is doing, in both views. */
export const statusRoutes: FastifyPluginAsyncTypebox<StatusRouteNeeds> = (app, { statusAccess, logResponse, isDraining }) => {
  const atEndOfTurn = createBatchPerTick()

  const answer = (request: FastifyRequest, reply: FastifyReply, revealed: VisibleStatus): void => {
    if (isDraining()) reply.raw.shouldKeepAlive = false
    logResponse(request, sendPoll(reply, revealed))
  }

  const poll = (request: FastifyRequest, reply: FastifyReply, view: ViewName, id: string): void => {
    atEndOfTurn(() => {
      try {
        const revealed = statusAccess.readVisible(view, id, principalOf(request), request.headers['if-none-match'])
        if (!(revealed instanceof Promise)) return answer(request, reply, revealed)
        revealed.then(revealed => { answer(request, reply, revealed) }).catch((error: unknown) => { reply.send(error) })
      } catch (error) {
        reply.send(error)
      }
    })
  }

  app.get('/api/v1/jobs/:jobId', {
    config: { scope: 'jobs:read', logsItself: true },
    schema: {
      operationId: 'getJobStatus',
      summary: 'How a job is doing',
      description: 'A known job is always 200, a failed one too. Poll no sooner than Retry-After says, with If-None-Match.',
      tags: ['Jobs'],
      params: Type.Object({ jobId: Type.String({ description: 'The id that the submission returned, or that another engine wrote.' }) }),
      headers: conditionalHeaders,
      response: {
        200: jsonResponse('The job as it is.', Type.Ref('JobStatus'), { headers: statusHeaders, examples: jobStatusExamples }),
        304: notModified,
        ...failureResponses(failureCodes, 'Problem')
      }
    }
  }, (request, reply) => {
    poll(request, reply, 'v1', request.params.jobId)
  })

  app.get('/api/jobs/:taskId/status', {
    config: { scope: 'jobs:read', logsItself: true },
    schema: {
      operationId: 'getTaskStatus',
      summary: 'How a task is doing',
      description: '`success` says that this call worked, `data.isSuccess` that the job did.',
      tags: ['Tasks'],
      params: Type.Object({ taskId: Type.String({ description: 'The jobId.' }) }),
      headers: conditionalHeaders,
      response: {
        200: jsonResponse('The task as it is.', Type.Ref('TaskStatus'), { headers: statusHeaders, examples: taskStatusExamples }),
        304: notModified,
        ...failureResponses([...failureCodes, 'INVALID_TASK_ID'], 'TaskError')
      }
    }
  }, (request, reply) => {
    poll(request, reply, 'task', request.params.taskId)
  })
  return Promise.resolve()
}
