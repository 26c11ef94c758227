import type { FastifyReply } from 'fastify'
import type { StatusEntry } from '../../job/status-entry.ts'
import { retryAfterSeconds } from '../../job/pacing.ts'
import { baseUrlOf } from '../headers/base-url.ts'
import { matches } from '../headers/conditional.ts'
import type { AddCorsFields } from '../headers/cors.ts'
import { toLink } from '../paths.ts'
import type { VisibleStatus } from '../status-access.ts'
import type { Representation } from '../representation.ts'

type Fields = readonly (readonly [name: string, value: string])[]

// What each response that shows a state has in its headers, when to poll again included.
const toStateFields = ({ state, percent, pollAfterMs }: StatusEntry): Fields => [
  ['job-state', state],
  ['job-progress', String(percent)],
  ...pollAfterMs === 0
    ? []
    : [['retry-after', String(retryAfterSeconds(pollAfterMs))], ['retry-after-ms', String(pollAfterMs)]] as const
]

const toFields = ({ entry, eTag, link }: Representation): Fields => [
  ['etag', eTag],
  ['cache-control', 'private, no-cache'],
  ['vary', 'Authorization, Accept'],
  ...toStateFields(entry),
  ['link', link]
]

const contentType = 'application/json; charset=utf-8'

/** The body of the response that shows a job. */
export const bodyOf = ({ view, entry }: Representation): string => view === 'v1' ? entry.v1Body : entry.taskBody

const setFields = (reply: FastifyReply, fields: Fields): FastifyReply => {
  for (const [name, value] of fields) reply.header(name, value)
  return reply
}

/** Sets the headers of a response that say which state the job is in. */
export const setStateHeaders = (reply: FastifyReply, entry: StatusEntry): FastifyReply => setFields(
  reply, toStateFields(entry)
)

// Pollers of long-running operations cannot complete a path that the headers of a 202 name. With PUBLIC_URL there is none.
const withAbsoluteLink = (reply: FastifyReply, representation: Representation): Representation => {
  const { view, entry, link } = representation
  if (!link.startsWith('</')) return representation
  return { ...representation, link: toLink(baseUrlOf(reply.request, null), view, entry) }
}

/** Sends the status that a command resulted in. */
export const sendStatus = (reply: FastifyReply, representation: Representation, code: 200 | 202 = 200): FastifyReply => {
  const shown = code === 202 ? withAbsoluteLink(reply, representation) : representation
  return setFields(reply, toFields(shown)).code(code).type(contentType).send(bodyOf(shown))
}

/** The headers of a response in the form that Node takes: names and values in turn. */
type ReadyMade = { ok: string[], notModified: string[] }

const readyMade = new WeakMap<Representation, ReadyMade>()

const toReadyMade = (representation: Representation): ReadyMade => {
  const known = readyMade.get(representation)
  if (known !== undefined) return known
  const notModified = toFields(representation).flat()
  const length = String(Buffer.byteLength(bodyOf(representation)))
  const made = { notModified, ok: [...notModified, 'content-type', contentType, 'content-length', length] }
  readyMade.set(representation, made)
  return made
}

/** How a response to a poll is sent. `applied` is the value of Preference-Applied, if the client asked to wait. */
type PollResponse = {
  status: 200 | 304, fields: string[], body?: string, addCorsFields: AddCorsFields | null, applied: string | undefined
}

// Past Fastify, which would add nothing to it: setting nine headers one by one is 14 % of the cost of a poll.
const write = (reply: FastifyReply, { status, fields, body, addCorsFields, applied }: PollResponse): PollResponse['status'] => {
  const own = applied === undefined ? fields : [...fields, 'preference-applied', applied]
  const response = reply.raw.writeHead(status, addCorsFields?.(reply.request.raw, own) ?? own)
  // Only once Node has taken the headers: a failure before that still gets its response from Fastify.
  reply.hijack()
  response.end(body)
  return status
}

/**
 * Sends the response to a poll, 304 if the client has this version, else the ready-made body, and returns its status
 * code. `applied` is the value of Preference-Applied, if the client asked to wait.
 */
export const sendPoll = (
  reply: FastifyReply,
  { representation, condition }: VisibleStatus,
  addCorsFields: AddCorsFields | null = null,
  applied?: string
): 200 | 304 => {
  const { ok, notModified } = toReadyMade(representation)
  return matches(condition, representation.eTag)
    ? write(reply, { status: 304, fields: notModified, addCorsFields, applied })
    : write(reply, { status: 200, fields: ok, body: bodyOf(representation), addCorsFields, applied })
}

/** Sends the task view with the time of the response: no two are the same, and none may be stored. */
export const sendFreshPoll = (
  reply: FastifyReply,
  { representation: { entry, link } }: VisibleStatus,
  observedAt: string,
  addCorsFields: AddCorsFields | null,
  applied: string | undefined
): 200 | 304 => {
  const body = `${entry.taskBody.slice(0, -2)},"observedAt":${JSON.stringify(observedAt)}}}`
  const length = String(Buffer.byteLength(body))
  const fields = [
    ['cache-control', 'no-store'], ['vary', 'Authorization, Accept'], ...toStateFields(entry), ['link', link],
    ['content-type', contentType], ['content-length', length]
  ].flat()
  return write(reply, { status: 200, fields, body, addCorsFields, applied })
}
