import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import type { ListPosition } from '../../job/list-position.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { FailureCode } from '../../errors.ts'
import { isJobId, recordStatuses, StringEnum } from '../../job/job.ts'
import { toEpochMs } from '../../job/time.ts'
import type { ListStatuses, ReadMany } from '../../status/read-status.ts'
import { type Principal, principalOf } from '../auth/principal.ts'
import { failureResponses, jsonResponse } from '../openapi/responses.ts'
import { jobStatusExamples } from '../openapi/examples.ts'
import { brokenRule } from '../problem.ts'
import { isVisible } from '../status-access.ts'

export type ListRouteNeeds = { readMany: ReadMany, listStatuses: ListStatuses }

const idsMax = 100
const limitMax = 200
const limitDefault = 50

// No schema defaults: a default would look like a parameter that the client sent beside `ids`.
const Query = Type.Object({
  ids: Type.Optional(Type.String({
    minLength: 1, description: `Up to ${idsMax} ids, separated by commas. Not allowed with other parameters.`
  })),
  status: Type.Optional(StringEnum(recordStatuses, {
    description: 'Only jobs of this status; cancelled jobs are Failed.'
  })),
  type: Type.Optional(Type.String({ description: 'Only jobs of this type.' })),
  createdAfter: Type.Optional(Type.String({
    description: 'Only jobs accepted after this time, ISO 8601; UTC unless it has an offset.'
  })),
  limit: Type.Optional(Type.Integer({
    minimum: 1, maximum: limitMax, description: `The most jobs on a page. Default: ${limitDefault}.`
  })),
  cursor: Type.Optional(Type.String({ description: 'The nextCursor of the previous page.' }))
}, { additionalProperties: false })
type Query = Static<typeof Query>

const toCursor = ({ createdMs, seq }: ListPosition): string =>
  Buffer.from(`${createdMs ?? 'none'} seq ${seq}`).toString('base64url')

// Accepts only the exact text of a cursor that the service has issued.
const parseCursor = (cursor: string): ListPosition => {
  const text = Buffer.from(cursor, 'base64url').toString()
  // Earlier releases named the rowid, which may be the seq of another row.
  if (/^(-?\d+|none) \d+$/.test(text)) {
    const rule = 'comes from an earlier release of the service; start the list again without a cursor'
    throw brokenRule('cursor', 'format', rule)
  }
  const [, createdMs = '', seq = ''] = /^(-?\d+|none) seq (\d+)$/.exec(text) ?? []
  const position = { createdMs: createdMs === 'none' ? null : Number(createdMs), seq: Number(seq) }
  if (createdMs === '' || toCursor(position) !== cursor) {
    throw brokenRule('cursor', 'format', 'must be the nextCursor of another page')
  }
  return position
}

const parseTime = (text: string): number => {
  const ms = toEpochMs(text)
  if (ms !== null) return ms
  throw brokenRule('createdAfter', 'format', 'must be an ISO 8601 date or date-time; encode + as %2B in a URL')
}

// Each entry holds its body as JSON text.
const send = (reply: FastifyReply, entries: readonly StatusEntry[], rest: object) => {
  reply.headers({ 'cache-control': 'private, no-store', vary: 'Authorization, Accept' })
  const json = `{"items":[${entries.map(({ v1Body }) => v1Body).join(',')}],${JSON.stringify(rest).slice(1)}`
  return reply.type('application/json; charset=utf-8').send(json)
}

const requireAlone = (query: Query): void => {
  const others = Object.keys(query).filter(name => name !== 'ids')
  if (others.length === 0) return
  throw brokenRule('ids', 'alone', `cannot be combined with other parameters: leave out ${others.join(', ')}`)
}

const parseIds = (text: string): string[] => {
  const ids = text.split(',')
  if (ids.length > idsMax) throw brokenRule('ids', 'maxItems', `must not name more than ${idsMax} jobs`)
  return [...new Set(ids)]
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

const createSendByIds = ({ readMany }: ListRouteNeeds) =>
  async (reply: FastifyReply, text: string, principal: Principal) => {
    const ids = parseIds(text)
    const entries = await readMany(ids.filter(isJobId))
    const { found, notFound, expired } = groupByVisibility(ids, entries, principal)
    return send(reply, found, { notFound, expired })
  }

const createSendPage = ({ listStatuses }: ListRouteNeeds) =>
  async (reply: FastifyReply, query: Query, principal: Principal) => {
    const { status = null, type = null, createdAfter, limit = limitDefault, cursor } = query
    const filter = {
      tenant: principal.allTenants ? null : principal.tenant,
      status,
      type,
      createdAfter: createdAfter === undefined ? null : parseTime(createdAfter)
    }
    const { entries, next } = await listStatuses(filter, cursor === undefined ? null : parseCursor(cursor), limit)
    // A record that breaks BR-001 is logged and left out; it does not fail the page.
    const shown = entries.filter(entry => isVisible(entry, principal) && entry.state !== 'invalid')
    return send(reply, shown, { nextCursor: next === null ? null : toCursor(next) })
  }

const failureCodes: readonly FailureCode[] =
  ['VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const exampleItems = [jobStatusExamples.succeeded.value]
const examples = {
  page: {
    summary: 'A page of the list',
    value: {
      items: exampleItems, nextCursor: toCursor({ createdMs: Date.UTC(2026, 2, 1, 9), seq: 41 })
    }
  },
  byIds: { summary: 'Asked for by ids', value: { items: exampleItems, notFound: ['no-such-job'], expired: [] } }
}

const description =
  `With \`ids\`: these jobs, in the order of the ids. Without: one page of the list, newest first. A page can
be short or empty and still have a nextCursor. Jobs that are accepted between two pages neither shift nor repeat others.`

/** Returns many jobs at once: by their ids, or newest first. */
export const listRoutes: FastifyPluginAsyncTypebox<ListRouteNeeds> = (app, needs) => {
  const sendByIds = createSendByIds(needs)
  const sendPage = createSendPage(needs)

  app.get('/api/v1/jobs', {
    config: { scope: 'jobs:read' },
    schema: {
      operationId: 'listJobs',
      summary: 'List jobs: by their ids, or newest first',
      description,
      tags: ['Jobs'],
      querystring: Query,
      response: {
        200: jsonResponse('The jobs.', Type.Union([Type.Ref('JobPage'), Type.Ref('JobsById')]), {
          headers: {
            'Cache-Control': Type.String({ description: 'private, no-store' }),
            Vary: Type.String({ description: 'Authorization, Accept' })
          },
          examples
        }),
        ...failureResponses(failureCodes, 'Problem')
      }
    }
  }, (request, reply) => {
    const { query } = request
    const principal = principalOf(request)
    if (query.ids === undefined) return sendPage(reply, query, principal)
    requireAlone(query)
    return sendByIds(reply, query.ids, principal)
  })
  return Promise.resolve()
}
