import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { StatusEntry } from '../../job/status-entry.ts'
import { mapInTurns } from '../../turns.ts'
import type { FailureCode } from '../../errors.ts'
import { countWithin } from '../../job/chunks.ts'
import { isJobId } from '../../job/job.ts'
import type { ListStatuses, ReadMany } from '../../status/read-status.ts'
import { listItems } from '../../views/list-items.ts'
import { type Principal, principalOf } from '../auth/principal.ts'
import { failureResponses, jsonResponse } from '../openapi/responses.ts'
import { jobStatusExamples, taskStatusExamples } from '../openapi/examples.ts'
import type { ViewName } from '../paths.ts'
import { isVisible } from '../status-access.ts'
import { createListQuery, type ListQuery, parseIds, parsePageRequest, toCursor } from './list-query.ts'

export type ListRouteNeeds = {
  readMany: ReadMany
  listStatuses: ListStatuses
  /**
   * A place in the change log up to which the cache has no older entries: a client that reads a list and then follows
   * the changes from here misses none.
   */
  changesCursor: () => string
}

/** The largest page, without its envelope. It has at least one job. */
const pageBytesMax = 1024 * 1024 - 1024

// Each entry holds its body as JSON text.
const toItems = (view: ViewName, entries: readonly StatusEntry[]): Promise<string[]> =>
  mapInTurns(entries, listItems[view], ({ length }) => length)

/** `changesCursor` was taken before anything was read. */
type Answer = { reply: FastifyReply, principal: Principal, changesCursor: string }

const send = ({ reply, changesCursor }: Answer, view: ViewName, items: readonly string[], rest: object) => {
  reply.headers({
    'cache-control': 'private, no-store', vary: 'Authorization, Accept', 'changes-cursor': changesCursor
  })
  const json = `{"items":[${items.join(',')}],${JSON.stringify(rest).slice(1)}`
  return reply.type('application/json; charset=utf-8').send(view === 'v1' ? json : `{"success":true,"data":${json}}`)
}

// Puts every requested id into exactly one of three lists.
const groupByVisibility = (ids: readonly string[], entries: readonly StatusEntry[], principal: Principal) => {
  const entryOf = new Map(entries.map(entry => [entry.jobId, entry]))
  const found: StatusEntry[] = []
  const notFound: string[] = []
  const expired: string[] = []
  for (const id of ids) {
    const entry = entryOf.get(id)
    if (entry === undefined || !isVisible(entry, principal) || entry.state === 'invalid') notFound.push(id)
    else if (entry.state === 'expired') expired.push(id)
    else found.push(entry)
  }
  return { found, notFound, expired }
}

const createSendByIds = ({ readMany }: ListRouteNeeds, view: ViewName) =>
  async (answer: Answer, ids: readonly string[]) => {
    const entries = await readMany(ids.filter(isJobId))
    const { found, notFound, expired } = groupByVisibility(ids, entries, answer.principal)
    return send(answer, view, await toItems(view, found), { notFound, expired })
  }

const createSendPage = ({ listStatuses }: ListRouteNeeds, view: ViewName) =>
  async (answer: Answer, query: ListQuery) => {
    const { principal } = answer
    const { filter, after, limit } = parsePageRequest(view, query, principal)
    const { entries, positions, next } = await listStatuses(filter, after, limit)
    // A record that breaks BR-001 is logged and left out; it does not fail the page.
    const shown = entries.flatMap((entry, index) =>
      isVisible(entry, principal) && entry.state !== 'invalid' ? [{ entry, position: positions[index] }] : [])
    const items = await toItems(view, shown.map(({ entry }) => entry))
    const count = countWithin(items.map(item => Buffer.byteLength(item) + 1), pageBytesMax)
    const end = count < items.length ? shown[count - 1]?.position ?? next : next
    return send(answer, view, items.slice(0, count), { nextCursor: end === null ? null : toCursor(end) })
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
message; the status of the job has more.`

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
      config: { scope: 'jobs:read' },
      schema: {
        operationId,
        summary: 'List jobs: by their ids, or newest first',
        description,
        tags: [tag],
        querystring: createListQuery(view),
        response: {
          200: jsonResponse('The jobs.', schema, {
            headers: {
              'Cache-Control': Type.String({ description: 'private, no-store' }),
              Vary: Type.String({ description: 'Authorization, Accept' }),
              'Changes-Cursor': Type.String({
                description: 'A place in the log of changes, opaque: every change after this list is behind it.'
              })
            },
            examples: toExamples(view, items)
          }),
          ...failureResponses(failureCodes, errors)
        }
      }
    }, (request: FastifyRequest<{ Querystring: ListQuery }>, reply) => {
      const { query } = request
      const answer = { reply, principal: principalOf(request), changesCursor: needs.changesCursor() }
      return query.ids === undefined
        ? sendPage(answer, query)
        : sendByIds(answer, parseIds(query.ids, query))
    })
  }
  return Promise.resolve()
}
