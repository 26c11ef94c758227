import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { StatusEntry } from '../../job/status-entry.ts'
import { type FailureCode, ServiceFailure } from '../../errors.ts'
import type { CancelJob, EraseJob } from '../../write/cancel-and-erase.ts'
import { mayChange, principalOf } from '../auth/principal.ts'
import { takeEmptyBodiesOnly } from '../bodies/empty-body.ts'
import {
  emptyResponse, failureResponses, jsonResponse, preconditionHeaders, statusHeaders
} from '../openapi/responses.ts'
import { jobStatusExamples, taskStatusExamples } from '../openapi/examples.ts'
import { JobParams, TaskParams } from '../openapi/params.ts'
import { preconditionFailed } from '../headers/unsupported-headers.ts'
import { mayWait, waitFor, waitParameter } from '../headers/wait.ts'
import { requireJobId } from '../job-id.ts'
import type { WaitingClients } from '../limits/waiting-clients.ts'
import { isUnfinished, requireVisible, type StatusAccess, toStatusFact } from '../status-access.ts'
import type { ViewName } from '../paths.ts'
import { sendStatus } from './send-status.ts'

export type CancelRouteNeeds = {
  statusAccess: StatusAccess
  cancelJob: CancelJob
  eraseJob: EraseJob
  waitingClients: WaitingClients
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
}

const jobChanged = () => preconditionFailed('The ETag of the job is not what If-Match or If-None-Match requires.')

type CancelRequest = { request: FastifyRequest, reply: FastifyReply, view: ViewName, id: string, wait: number | undefined }

const jobFinished = (entry: StatusEntry) =>
  new ServiceFailure('JOB_FINISHED', 'The job has finished: it cannot be cancelled.', toStatusFact(entry))

/** Waits for the end of a job that was asked to stop, and returns it as it then is. */
const createAwaitStopped = ({ statusAccess, waitingClients }: CancelRouteNeeds) =>
  async ({ request, reply, wait }: CancelRequest, entry: StatusEntry): Promise<StatusEntry> => {
    let newest = entry
    await waitFor(waitingClients, request, reply, wait, async ended => {
      newest = await statusAccess.awaitEnd(entry, principalOf(request), ended)
      return isUnfinished(newest) ? null : newest
    })
    return newest
  }

const createSendCancelled = (needs: CancelRouteNeeds) => {
  const { statusAccess, cancelJob, onShown } = needs
  const awaitStopped = createAwaitStopped(needs)
  return async (cancelRequest: CancelRequest) => {
    const { request, reply, view, id } = cancelRequest
    const principal = principalOf(request)
    requireJobId(view, id)
    const { outcome, entry: found } = await cancelJob(id, mayChange(principal), statusAccess.toIsExpected(request.headers))
    requireVisible(found, principal)
    const entry = outcome === 'asked' || outcome === 'cancelled' ? await awaitStopped(cancelRequest, found) : found
    const representation = statusAccess.toRepresentation(view, entry, principal)
    onShown(entry)
    switch (outcome) {
      case 'asked':
      case 'cancelled':
        if (isUnfinished(entry)) return sendStatus(reply, representation, 202)
        if (entry.state !== 'cancelled') throw jobFinished(entry)
        return sendStatus(reply, representation)
      case 'finished':
        throw jobFinished(entry)
      case 'changed':
        throw jobChanged()
      case 'not-ours':
        throw new ServiceFailure('JOB_NOT_OURS', 'Another engine runs this job; cancel it there.')
      case 'forbidden':
        throw new ServiceFailure('FORBIDDEN', 'The job has no tenant: cancelling it needs the scope jobs:admin.')
    }
  }
}

const createSendErased = ({ statusAccess, eraseJob }: CancelRouteNeeds) =>
  async (request: FastifyRequest, reply: FastifyReply, id: string) => {
    const principal = principalOf(request)
    requireJobId('v1', id)
    const { outcome, entry } = await eraseJob(id, mayChange(principal), statusAccess.toIsExpected(request.headers))
    if (outcome === 'erased') {
      request.log.info({ jobId: id }, 'erased')
      return reply.code(204).header('cache-control', 'no-store').send()
    }
    requireVisible(entry, principal)
    if (outcome === 'changed') throw jobChanged()
    if (outcome === 'active') {
      throw new ServiceFailure('JOB_ACTIVE', 'The job has not finished: only finished jobs can be erased.', toStatusFact(entry))
    }
    throw new ServiceFailure('FORBIDDEN', 'The job has no tenant: erasing it needs the scope jobs:admin.')
  }

const commonCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'PAYLOAD_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE'
]
const cancelCodes: readonly FailureCode[] = [...commonCodes, 'JOB_FINISHED', 'JOB_NOT_OURS']

const cancelDescription = `A queued job is cancelled at once. The worker of a running job gets the request with its next
report; after CANCEL_GRACE_SECONDS the service cancels the job itself. Repeating the request has no effect. Send no body,
or \`{}\`. With \`wait\` the response is held until the job has ended: 200 if it was cancelled, otherwise 409.`

type Examples = Record<'running' | 'cancelled', { summary: string, value: unknown }>

const cancelResponses = (schema: 'JobStatus' | 'TaskStatus', { running, cancelled }: Examples) => ({
  200: jsonResponse('Cancelled, now or before.', Type.Ref(schema), { headers: statusHeaders, examples: { cancelled } }),
  202: jsonResponse('Running; the worker will be asked to stop.', Type.Ref(schema), {
    headers: statusHeaders, examples: { running }
  })
})

const CancelQuery = Type.Object({ wait: waitParameter })

const { running: runningTask, cancelled: cancelledTask } = taskStatusExamples
const { running: runningJob, cancelled: cancelledJob } = jobStatusExamples
const stoppingData = { ...runningTask.value.data, cancelRequested: true }
const stoppingTask = { ...runningTask, value: { ...runningTask.value, data: stoppingData } }

/** Cancels and erases jobs. */
export const cancelRoutes: FastifyPluginAsyncTypebox<CancelRouteNeeds> = (app, needs) => {
  takeEmptyBodiesOnly(app)
  const sendCancelled = createSendCancelled(needs)
  const sendErased = createSendErased(needs)

  app.post('/api/v1/jobs/:jobId/cancel', {
    config: { scope: 'jobs:write', evaluatesTags: true },
    schema: {
      operationId: 'cancelJob',
      summary: 'Cancel a job',
      description: cancelDescription,
      tags: ['Jobs'],
      params: JobParams,
      querystring: CancelQuery,
      headers: preconditionHeaders,
      response: mayWait({
        ...cancelResponses('JobStatus', { running: runningJob, cancelled: cancelledJob }),
        ...failureResponses(cancelCodes, 'Problem')
      })
    }
  }, (request, reply) => {
    const { params: { jobId: id }, query: { wait } } = request
    return sendCancelled({ request, reply, view: 'v1', id, wait })
  })

  app.post('/api/jobs/:taskId/cancel', {
    config: { scope: 'jobs:write', evaluatesTags: true },
    schema: {
      operationId: 'cancelTask',
      summary: 'Cancel a task',
      description: cancelDescription,
      tags: ['Tasks'],
      params: TaskParams,
      querystring: CancelQuery,
      headers: preconditionHeaders,
      response: mayWait({
        ...cancelResponses('TaskStatus', { running: stoppingTask, cancelled: cancelledTask }),
        ...failureResponses([...cancelCodes, 'INVALID_TASK_ID'], 'TaskError')
      })
    }
  }, (request, reply) => {
    const { params: { taskId: id }, query: { wait } } = request
    return sendCancelled({ request, reply, view: 'task', id, wait })
  })

  app.delete('/api/v1/jobs/:jobId', {
    config: { scope: 'jobs:write', evaluatesTags: true },
    schema: {
      operationId: 'eraseJob',
      summary: 'Erase a finished job',
      description: 'Erases the job and everything that belongs to it. From then on the job is 410 JOB_EXPIRED.',
      tags: ['Jobs'],
      params: JobParams,
      headers: preconditionHeaders,
      response: {
        204: emptyResponse('Erased.', { 'Cache-Control': Type.String({ description: 'no-store' }) }),
        ...failureResponses([...commonCodes, 'JOB_ACTIVE'], 'Problem')
      }
    }
  }, (request, reply) => sendErased(request, reply, request.params.jobId))
  return Promise.resolve()
}
