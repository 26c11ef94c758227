import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../../errors.ts'
import { countWithin } from '../../../job/chunks.ts'
import type { ListStatuses } from '../../../status/read-status.ts'
import { principalOf } from '../../auth/principal.ts'
import { requireMatch } from '../../headers/conditional.ts'
import { mayWait } from '../../headers/wait.ts'
import { conditionalHeaders, emptyResponse, failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { jobStatusExamples, taskStatusExamples } from '../../openapi/examples.ts'
import type { ViewName } from '../../paths.ts'
import { brokenRule } from '../../problem.ts'
import { isVisible } from '../../status-access.ts'
import { type ByIdsNeeds, createSendByIds } from './list-by-ids.ts'
import { createListQuery, type ListQuery, parseIds, parsePageRequest, toCursor } from './list-query.ts'
import { listHeaders, sendItems, toItems } from './send-list.ts'

export type ListRouteNeeds = ByIdsNeeds & { listStatuses: ListStatuses }

/** The largest page, without its envelope. It has at least one job. */
const pageBytesMax = 1024 * 1024 - 1024

const requireNoWait = ({ wait }: ListQuery): void => {
  if (wait !== undefined) throw brokenRule('wait', 'dependencies', 'needs ids: a page of the list does not wait')
}

const createSendPage = ({ listStatuses, changesCursor }: ListRouteNeeds, view: ViewName) =>
  async (request: FastifyRequest, reply: FastifyReply, query: ListQuery) => {
    requireNoWait(query)
    requireMatch(request.headers, null)
    const principal = principalOf(request)
    const { filter, after, limit } = parsePageRequest(view, query, principal)
    const cursor = changesCursor()
    const { entries, positions, next } = await listStatuses(filter, after, limit)
    // A record that breaks BR-001 is logged and left out; it does not fail the page.
    const shown = entries.flatMap((entry, index) =>
      isVisible(entry, principal) && entry.state !== 'invalid' ? [{ entry, position: positions[index] }] : [])
    const items = await toItems(view, shown.map(({ entry }) => entry))
    const count = countWithin(items.map(item => Buffer.byteLength(item) + 1), pageBytesMax)
    const end = count < items.length ? shown[count - 1]?.position ?? next : next
    reply.headers({ 'cache-control': 'private, no-store', ...listHeaders(cursor) })
    return sendItems(reply, view, items.slice(0, count), { nextCursor: end === null ? null : toCursor(end) })
  }

const failureCodes: readonly FailureCode[] =
  ['VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const exampleRests = {
  page: { nextCursor: toCursor({ createdMs: Date.UTC(2026, 2, 1, 9), seq: 41 }) },
  byIds: { notFound: ['no-such-job'], expired: [] }
}
const toExamples = (view: ViewName, items: readonly unknown[]) => {
  const toValue = (rest: object) =>
    view === 'v1' ? { items, ...rest } : { success: true, data: { items, ...rest } }
  return {
    page: { summary: 'A page of the list', value: toValue(exampleRests.page) },
    byIds: { summary: 'Asked for by ids', value: toValue(exampleRests.byIds) }
  }
}

const description =
  `With \`ids\`: these jobs, in the order of the ids. Without: one page of the list, newest first. A page can
be short or empty and still have a nextCursor; it has at most 1 MiB. Jobs that are accepted between two pages neither
shift nor repeat others. Of a failure of more than 4,000 characters a list shows the code and the beginning of the
message; the status of the job has more.

With \`wait\`, which needs \`ids\`, the response is held until all jobs are terminal, gone or unknown; with \`wait\` and
\`If-None-Match\` until any of them has changed.`

const headers = {
  'Cache-Control': Type.String({ description: 'With `ids` private, no-cache; otherwise private, no-store.' }),
  Vary: Type.String({ description: 'Authorization, Accept' }),
  'Changes-Cursor': Type.String({
    description: 'A place in the log of changes, opaque: every change after this list is behind it.'
  }),
  ETag: Type.String({ description: 'With `ids` only: of these ids and their versions. Send it back in If-None-Match.' })
}

const paths = {
  v1: {
    url: '/api/v1/jobs',
    operationId: 'listJobs',
    tag: 'Jobs',
    errors: 'Problem',
    schema: Type.Union([Type.Ref('JobPage'), Type.Ref('JobsById')]),
    items: [jobStatusExamples.succeeded.value]
  },
  task: {
    url: '/api/jobs',
    operationId: 'listTasks',
    tag: 'Tasks',
    errors: 'TaskError',
    schema: Type.Union([Type.Ref('TaskPage'), Type.Ref('TasksById')]),
    items: [{ ...taskStatusExamples.succeeded.value.data, result: null }]
  }
} as const

/** Returns many jobs at once, in both views: by their ids, or newest first. */
export const listRoutes: FastifyPluginAsyncTypebox<ListRouteNeeds> = (app, needs) => {
  for (const view of ['v1', 'task'] as const) {
    const { url, operationId, tag, errors, schema, items } = paths[view]
    const sendByIds = createSendByIds(needs, view)
    const sendPage = createSendPage(needs, view)
    app.get(url, {
      config: { scope: 'jobs:read', evaluatesTags: true },
      schema: {
        operationId,
        summary: 'List jobs: by their ids, or newest first',
        description,
        tags: [tag],
        querystring: createListQuery(view),
        headers: conditionalHeaders,
        response: mayWait({
          200: jsonResponse('The jobs.', schema, {
            headers,
            examples: toExamples(view, items)
          }),
          304: emptyResponse('The client has these versions already.', headers),
          ...failureResponses(failureCodes, errors)
        })
      }
    }, (request: FastifyRequest<{ Querystring: ListQuery }>, reply) => {
      const { query } = request
      return query.ids === undefined
        ? sendPage(request, reply, query)
        : sendByIds(request, reply, parseIds(query.ids, query), query.wait)
    })
  }
  return Promise.resolve()
}
