import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../../errors.ts'
import type { OpenedResult, ReadResult } from '../../../status/read-result.ts'
import { type Principal, principalOf } from '../../auth/principal.ts'
import { brokenRule } from '../../problem.ts'
import { JobParams, TaskParams } from '../../openapi/params.ts'
import {
  resultResponses, resultDescription, ResultQuery, resultRequestHeaders
} from '../../openapi/result-responses.ts'
import { requireMatch } from '../../headers/conditional.ts'
import type { Representation } from '../../representation.ts'
import type { StatusAccess } from '../../status-access.ts'
import type { ViewName } from '../../paths.ts'
import { sendStatus } from '../send-status.ts'
import { noBytesFailure, sendPartial, sendStored } from './send-result.ts'

export type ResultRouteNeeds = { statusAccess: StatusAccess, readResult: ReadResult }

type ResultSelection = { view: ViewName, id: string, query: Static<typeof ResultQuery> }
type ResultRequest = ResultSelection & { request: FastifyRequest, reply: FastifyReply, principal: Principal }

const requirePartialForOffset = ({ partial = false, offset }: ResultSelection['query']): void => {
  if (partial || offset === undefined) return
  throw brokenRule('offset', 'dependencies', 'needs partial=true; use Range for a part of a finished result')
}

const sendPending = (request: FastifyRequest, reply: FastifyReply, representation: Representation) => {
  requireMatch(request.headers, representation.eTag)
  return sendStatus(reply, representation, 202)
}

const createSendResult = ({ statusAccess, readResult }: ResultRouteNeeds) => {
  const send = async ({ request, reply, principal, view, query }: ResultRequest, result: OpenedResult) => {
    // The record may have been erased or replaced since the first read, so visibility is checked again.
    const representation = statusAccess.toRepresentation(view, result.entry, principal)
    const { partial = false, offset = 0 } = query
    const exchange = { request, reply }
    if (result.kind === 'external') {
      return reply.code(303).headers({ location: result.url, 'cache-control': 'private, no-cache' }).send()
    }
    const hasBytes = result.kind === 'partial' || result.kind === 'stored'
    if (partial && hasBytes) return await sendPartial(exchange, result, offset)
    if (result.kind === 'stored') return await sendStored(exchange, result)
    const { state } = result.entry
    if (state === 'queued' || state === 'running') return sendPending(request, reply, representation)
    throw noBytesFailure(result)
  }

  return async (request: FastifyRequest, reply: FastifyReply, { view, id, query }: ResultSelection) => {
    requirePartialForOffset(query)
    const principal = principalOf(request)
    const { representation } = await statusAccess.readVisible(view, id, principal, undefined)
    const { entry } = representation
    const { state } = entry
    const isPending = state === 'queued' || (state === 'running' && query.partial !== true)
    if (isPending) return sendPending(request, reply, representation)
    if (state === 'failed' || state === 'cancelled') throw noBytesFailure({ entry, kind: 'none' })
    const resultRequest = { request, reply, principal, view, id, query }
    try {
      return await send(resultRequest, await readResult(id))
    } catch (error) {
      if (error instanceof ServiceFailure) throw error
      // Between the read of the record and that of the first byte the result can be removed, or produced again by
      // another attempt: then a second read succeeds. A damaged result fails again.
      return await send(resultRequest, await readResult(id))
    }
  }
}

/** Sends results. */
export const resultRoutes: FastifyPluginAsyncTypebox<ResultRouteNeeds> = (app, needs) => {
  const sendResult = createSendResult(needs)

  app.get('/api/v1/jobs/:jobId/result', {
    config: { scope: 'jobs:read', evaluatesTags: true, kind: 'download' },
    schema: {
      operationId: 'getJobResult',
      summary: 'The result of a job',
      description: resultDescription,
      tags: ['Jobs'],
      params: JobParams,
      querystring: ResultQuery,
      headers: resultRequestHeaders,
      response: resultResponses('JobStatus')
    }
  }, (request, reply) => sendResult(request, reply, { view: 'v1', id: request.params.jobId, query: request.query }))

  app.get('/api/jobs/:taskId/result', {
    config: { scope: 'jobs:read', evaluatesTags: true, kind: 'download' },
    schema: {
      operationId: 'getTaskResult',
      summary: 'The result of a task',
      description: resultDescription,
      tags: ['Tasks'],
      params: TaskParams,
      querystring: ResultQuery,
      headers: resultRequestHeaders,
      response: resultResponses('TaskStatus')
    }
  }, (request, reply) => sendResult(request, reply, { view: 'task', id: request.params.taskId, query: request.query }))
  return Promise.resolve()
}
