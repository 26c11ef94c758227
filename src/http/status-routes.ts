import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FailureCode } from '../errors.ts'
import { conditionalHeaders, emptyAnswer, failures, jsonAnswer, statusHeaders } from './documented.ts'
import { jobStatusExamples, taskStatusExamples } from './examples.ts'
import { principalOf, type Reveal, sendStatus } from './reveal.ts'

const failureCodes: readonly FailureCode[] =
  ['UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const notModified = emptyAnswer('The client has this version already.', statusHeaders)

/** What the service is for: how a job is doing, in both views. */
export const statusRoutes: FastifyPluginAsyncTypebox<{ reveal: Reveal }> = (app, { reveal }) => {
  app.get('/api/v1/jobs/:jobId', {
    config: { scope: 'jobs:read' },
    schema: {
      operationId: 'getJobStatus',
      summary: 'How a job is doing',
      description: 'A known job is always 200, a failed one too. Poll no sooner than Retry-After says, with If-None-Match.',
      tags: ['Jobs'],
      params: Type.Object({ jobId: Type.String({ description: 'The id that the submission returned, or that another engine wrote.' }) }),
      headers: conditionalHeaders,
      response: {
        200: jsonAnswer('The job as it is.', Type.Ref('JobStatus'), { headers: statusHeaders, examples: jobStatusExamples }),
        304: notModified,
        ...failures(failureCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const revealed = await reveal.read('v1', request.params.jobId, principalOf(request), request.headers['if-none-match'])
    return sendStatus(reply, 'v1', revealed)
  })

  app.get('/api/jobs/:taskId/status', {
    config: { scope: 'jobs:read' },
    schema: {
      operationId: 'getTaskStatus',
      summary: 'How a task is doing',
      description: '`success` says that this call worked, `data.isSuccess` that the job did.',
      tags: ['Tasks'],
      params: Type.Object({ taskId: Type.String({ description: 'The jobId.' }) }),
      headers: conditionalHeaders,
      response: {
        200: jsonAnswer('The task as it is.', Type.Ref('TaskStatus'), { headers: statusHeaders, examples: taskStatusExamples }),
        304: notModified,
        ...failures([...failureCodes, 'INVALID_TASK_ID'], 'TaskError')
      }
    }
  }, async (request, reply) => {
    const revealed = await reveal.read('task', request.params.taskId, principalOf(request), request.headers['if-none-match'])
    return sendStatus(reply, 'task', revealed)
  })
  return Promise.resolve()
}
