import type { StatusEntry } from '../../job/status-entry.ts'
import type { FastifyReply } from 'fastify'
import { retryAfterSeconds } from '../../job/pacing.ts'
import { matches } from '../conditional.ts'
import type { VisibleStatus } from '../status-access.ts'
import type { Representation } from '../representation.ts'

type Fields = readonly (readonly [name: string, value: string])[]

// What every answer that shows a state says of it: when to ask again, too.
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

const bodyOf = ({ view, entry }: Representation): string => view === 'v1' ? entry.v1Body : entry.taskBody

const setFields = (reply: FastifyReply, fields: Fields): FastifyReply => {
  for (const [name, value] of fields) reply.header(name, value)
  return reply
}

/** Says in the headers of any answer what state the job is in. */
export const setStateHeaders = (reply: FastifyReply, entry: StatusEntry): FastifyReply => setFields(reply, toStateFields(entry))

/** Answers a command with the status that came of it. */
export const sendStatus = (reply: FastifyReply, shown: Representation, code: 200 | 202 = 200): FastifyReply =>
  setFields(reply, toFields(shown)).code(code).type(contentType).send(bodyOf(shown))

/** All of an answer but its body, as Node takes it: names and values in turns. */
type ReadyMade = { ok: string[], notModified: string[] }

const readyMade = new WeakMap<Representation, ReadyMade>()

const toReadyMade = (shown: Representation): ReadyMade => {
  const known = readyMade.get(shown)
  if (known !== undefined) return known
  const notModified = toFields(shown).flat()
  const length = String(Buffer.byteLength(bodyOf(shown)))
  const made = { notModified, ok: [...notModified, 'content-type', contentType, 'content-length', length] }
  readyMade.set(shown, made)
  return made
}

/**
 * Answers a poll: 304 where the client has this very version, else the ready-made body. Past Fastify, which has nothing
 * to add: setting nine headers one by one costs a seventh of such an answer. Returns the status code.
 */
export const sendPoll = (reply: FastifyReply, { representation, condition }: VisibleStatus): 200 | 304 => {
  const { ok, notModified } = toReadyMade(representation)
  const status = matches(condition, representation.eTag) ? 304 : 200
  const response = reply.raw.writeHead(status, status === 304 ? notModified : ok)
  // Not before the headers are taken: what throws until here is still Fastify's to answer.
  reply.hijack()
  response.end(status === 304 ? undefined : bodyOf(representation))
  return status
}
