import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../../errors.ts'
import type { StatusEntry } from '../../../job/status-entry.ts'
import type { Schedule } from '../../../schedule.ts'
import type { ChangeFeed, FeedReader } from '../../../status/feed/change-feed.ts'
import { principalOf } from '../../auth/principal.ts'
import { admitStream, lastEventIdOf, openEventStream, toEventText } from '../../event-stream.ts'
import type { AddCorsFields } from '../../headers/cors.ts'
import { prefersOverJson } from '../../headers/media-type.ts'
import { grantWait, mayWait, preferenceApplied, requireListening, waitParameter } from '../../headers/wait.ts'
import type { Wait, WaitingClients } from '../../limits/waiting-clients.ts'
import { eventStream } from '../../openapi/content.ts'
import { exampleJobId, jobStatusExamples, taskStatusExamples } from '../../openapi/examples.ts'
import { failureResponses, jsonResponse } from '../../openapi/responses.ts'
import type { ViewName } from '../../paths.ts'
import type { SchedulePings } from '../../pings.ts'
import { brokenRule } from '../../problem.ts'
import { type Collect, type CollectedPage, createCollect, type FeedFilter } from './feed-page.ts'
import { createFeedStream, createToEvents } from './feed-stream.ts'

export type FeedRouteNeeds = {
  feed: ChangeFeed
  waitingClients: WaitingClients
  schedule: Schedule
  schedulePings: SchedulePings
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
  /** null: no page of another origin may read responses. */
  addCorsFields: AddCorsFields | null
}

const limitMax = 1000
const limitDefault = 100

const FeedQuery = Type.Object({
  since: Type.Optional(Type.String({
    description: 'The changes after this place: a cursor of the feed, or the Changes-Cursor of a list. Default: from now on.'
  })),
  limit: Type.Optional(Type.Integer({
    minimum: 1, maximum: limitMax, description: `The most items of a page. Default: ${limitDefault}.`
  })),
  wait: waitParameter,
  type: Type.Optional(Type.String({ description: 'Only jobs of this type. Items whose job is null are returned whatever their type.' }))
}, { additionalProperties: false })
type FeedQuery = Static<typeof FeedQuery>

const FeedHeaders = Type.Object({
  'last-event-id': Type.Optional(Type.String({ description: 'Of a stream: the id of the last event, in place of since.' }))
})

const never = new Promise<never>(() => {})

const toFilter = (request: FastifyRequest, { type }: FeedQuery): FeedFilter => {
  const { tenant, allTenants } = principalOf(request)
  return { tenant: allTenants ? null : tenant, type }
}

const openReader = async (
  feed: ChangeFeed, from: string | undefined, ended: Promise<unknown>, field = 'since'
): Promise<FeedReader> => {
  const reader = await feed.open(from, ended)
  if (reader !== null) return reader
  throw brokenRule(field, 'format', 'must be a cursor of this feed, or the Changes-Cursor of a list')
}

const sendPage = (reply: FastifyReply, { items, cursor, hasMore }: CollectedPage) => {
  reply.headers({ 'cache-control': 'no-store', vary: 'Authorization, Accept' }).type('application/json; charset=utf-8')
  return reply.send(`{"items":[${items.join(',')}],"cursor":"${cursor}","hasMore":${hasMore}}`)
}

type FeedRequest = FastifyRequest<{ Querystring: FeedQuery }>

/** Reads what there is, and where that is nothing waits for it as long as the client is allowed to. */
const readOrWait = async (reader: FeedReader, { collect, isExhausted }: Collect, wait: Wait): Promise<CollectedPage> => {
  let isOver = false
  void wait.ended.then(() => { isOver = true })
  for (;;) {
    const page = await collect()
    if (page.items.length > 0 || page.hasMore || isExhausted()) return page
    if (!isOver) await reader.awaitChanges()
    if (!isOver) continue
    // To a client that has gone, what is sent reaches no one.
    await requireListening(wait)
    return page
  }
}

const createSendJson = ({ feed, waitingClients, onShown }: FeedRouteNeeds, view: ViewName) =>
  async (request: FeedRequest, reply: FastifyReply) => {
    const { query, query: { since, limit = limitDefault } } = request
    const { applied, wait = null } = grantWait(waitingClients, request, reply, query.wait) ?? {}
    if (applied !== undefined) reply.header('preference-applied', applied)
    try {
      const reader = await openReader(feed, since, wait?.ended ?? never)
      try {
        const collect = createCollect({ reader, view, filter: toFilter(request, query), limit, onShown })
        if (wait !== null) return sendPage(reply, await readOrWait(reader, collect, wait))
        if (since !== undefined) return sendPage(reply, await collect.collect())
        return sendPage(reply, { items: [], cursor: reader.cursor(), hasMore: false })
      } finally {
        reader.close()
      }
    } finally {
      wait?.leave()
    }
  }

const createSendEvents = (
  { feed, waitingClients, schedule, schedulePings, onShown, addCorsFields }: FeedRouteNeeds, view: ViewName
) => {
  const toEvents = createToEvents(onShown)
  return async (request: FeedRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { query, query: { since } } = request
    const filter = toFilter(request, query)
    const lastEventId = lastEventIdOf(request)
    const wait = admitStream(waitingClients, 'feed', request, reply)
    let close = wait.leave
    try {
      const reader = await openReader(
        feed, lastEventId ?? since, wait.ended, lastEventId === undefined ? 'since' : 'last-event-id')
      close = () => {
        wait.leave()
        reader.close()
      }
      // What is wrong with the cursor is answered before the stream begins.
      const first = await reader.next()
      const { place, onReady, onEnd, run } = createFeedStream({
        reader,
        toEvents: toEvents(view, filter),
        schedule,
        onFailure: error => { request.log.warn({ err: error }, 'a stream of changes ended early') }
      })
      request.isLongPoll = true
      // An id without data moves the client's cursor on past changes that are not for it.
      const toPing = () => `: ping\nid: ${place()}\n\n`
      run(first, openEventStream({ reply, wait, addCorsFields, schedulePings, toPing, onReady, onEnd }))
      return reply
    } catch (error) {
      close()
      throw error
    }
  }
}

const failureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'CURSOR_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL',
  'STORE_UNAVAILABLE'
]

const description =
  `The changes of all jobs that the token may read, as the jobs are now. List the jobs first and follow from the
Changes-Cursor of the list: then no change is missed. Each page has a cursor for the next request. With \`wait\` the
response is held until there is an item.

Several changes of a job may be one item, and an item may come again; the versions of a job never fall. \`job\` is the
job as in a list, or null where it was removed or the token may no longer read it. A page has at most 1 MiB. One
request examines at most 10,000 changes of all tenants, so a page can be short or empty although \`hasMore\` is true.

With \`Accept: text/event-stream\` the same as a stream without end: each item is an event, \`status\` or \`gone\`, with the
item as its data and its cursor as the id. \`limit\` and \`wait\` mean nothing there.`

const exampleCursor = '5f0c3a9be1d27c44-42'
const toExample = (job: object) => {
  const value = {
    items: [
      { cursor: exampleCursor, jobId: exampleJobId, version: 42, job },
      { cursor: '5f0c3a9be1d27c44-45', jobId: 'another-job', version: 45, job: null }
    ],
    cursor: '5f0c3a9be1d27c44-47',
    hasMore: false
  }
  return { page: { summary: 'A job that changed, and one that is gone', value } }
}

const toResponse = (schema: TSchema, examples: ReturnType<typeof toExample>) => {
  const { items: [item] } = examples.page.value
  const event = toEventText({ event: 'status', id: exampleCursor, data: JSON.stringify(item) })
  const response = jsonResponse('The changes.', schema, {
    headers: {
      'Cache-Control': Type.String({ description: 'no-store' }),
      Vary: Type.String({ description: 'Authorization, Accept' }),
      ...preferenceApplied
    },
    examples
  })
  return { ...response, content: { ...response.content, ...eventStream(event) } }
}

const paths = {
  v1: {
    url: '/api/v1/events',
    operationId: 'followJobs',
    tag: 'Jobs',
    schema: Type.Ref('JobChanges'),
    examples: toExample(jobStatusExamples.running.value)
  },
  task: {
    url: '/api/events',
    operationId: 'followTasks',
    tag: 'Tasks',
    schema: Type.Ref('TaskChanges'),
    examples: toExample(taskStatusExamples.running.value.data)
  }
} as const

/** The change feed, in both views. */
export const feedRoutes: FastifyPluginAsyncTypebox<FeedRouteNeeds> = (app, needs) => {
  for (const view of ['v1', 'task'] as const) {
    const { url, operationId, tag, schema, examples } = paths[view]
    const sendJson = createSendJson(needs, view)
    const sendEvents = createSendEvents(needs, view)
    app.get(url, {
      config: { scope: 'jobs:read' },
      schema: {
        operationId,
        summary: 'Follow the changes of all jobs',
        description,
        tags: [tag],
        querystring: FeedQuery,
        headers: FeedHeaders,
        response: {
          200: toResponse(schema, examples),
          ...mayWait(failureResponses(failureCodes, 'Problem'))
        }
      }
    }, (request: FeedRequest, reply) => {
      const isStream = prefersOverJson(request.headers.accept ?? '', 'text/event-stream')
      return isStream && request.method === 'GET' ? sendEvents(request, reply) : sendJson(request, reply)
    })
  }
  return Promise.resolve()
}
