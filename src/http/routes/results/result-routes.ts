import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../../errors.ts'
import type { StatusEntry } from '../../../job/status-entry.ts'
import type { OpenedResult, ReadResult } from '../../../status/details/read-result.ts'
import { type Principal, principalOf } from '../../auth/principal.ts'
import { brokenRule } from '../../problem.ts'
import { JobParams, TaskParams } from '../../openapi/params.ts'
import {
  resultResponses, resultDescription, ResultQuery, resultRequestHeaders
} from '../../openapi/result-responses.ts'
import { requireMatch } from '../../headers/conditional.ts'
import { waitFor } from '../../headers/wait.ts'
import type { WaitingClients } from '../../limits/waiting-clients.ts'
import type { Representation } from '../../representation.ts'
import { isUnfinished, type StatusAccess, type VisibleStatus } from '../../status-access.ts'
import type { ViewName } from '../../paths.ts'
import { sendStatus } from '../send-status.ts'
import { noBytesFailure, sendPartial, sendStored } from './send-result.ts'

export type ResultRouteNeeds = {
  statusAccess: StatusAccess
  readResult: ReadResult
  waitingClients: WaitingClients
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
}

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

const isUnfinishedWithoutBytes = ({ kind, entry }: OpenedResult): boolean => kind === 'none' && isUnfinished(entry)

/** Waits as long as the response would be 202; null: it still would be. */
const createAwaitResult = ({ statusAccess, readResult }: ResultRouteNeeds) =>
  async ({ view, id, query, principal }: ResultRequest, ended: Promise<unknown>): Promise<VisibleStatus | null> => {
    let read = 0
    for (;;) {
      // A run has bytes once it has begun, unless another program's row says so; a later version may have them.
      const isEnough = ({ state, version }: StatusEntry) => query.partial === true && state === 'running' && version > read
      const visible = await statusAccess.awaitVisible(view, id, principal, undefined, { ended, isEnough })
      if (visible === null || !isUnfinished(visible.representation.entry)) return visible
      const result = await readResult(id)
      if (!isUnfinishedWithoutBytes(result)) return visible
      read = Math.max(visible.representation.entry.version, result.entry.version)
    }
  }

const createSendResult = (needs: ResultRouteNeeds) => {
  const { statusAccess, readResult, waitingClients, onShown } = needs
  const awaitResult = createAwaitResult(needs)
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
    if (isUnfinished(result.entry)) return sendPending(request, reply, representation)
    throw noBytesFailure(result)
  }

  return async (request: FastifyRequest, reply: FastifyReply, { view, id, query }: ResultSelection) => {
    requirePartialForOffset(query)
    const principal = principalOf(request)
    const resultRequest = { request, reply, principal, view, id, query }
    const awaited = await waitFor(waitingClients, request, reply, query.wait, ended => awaitResult(resultRequest, ended))
    const { representation } = awaited ?? await statusAccess.readVisible(view, id, principal, undefined)
    const { entry } = representation
    onShown(entry)
    const { state } = entry
    const isPending = state === 'queued' || (state === 'running' && query.partial !== true)
    if (isPending) return sendPending(request, reply, representation)
    if (state === 'failed' || state === 'cancelled') throw noBytesFailure({ entry, kind: 'none' })
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
