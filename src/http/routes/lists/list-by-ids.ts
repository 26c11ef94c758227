import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { StatusEntry } from '../../../job/status-entry.ts'
import { isJobId } from '../../../job/job.ts'
import type { Await, AwaitMany } from '../../../status/await-many.ts'
import type { ReadMany } from '../../../status/read-status.ts'
import { type Principal, principalOf } from '../../auth/principal.ts'
import { hasTags, matches, parseIfNoneMatch, requireMatch } from '../../headers/conditional.ts'
import { waitFor } from '../../headers/wait.ts'
import type { WaitingClients } from '../../limits/waiting-clients.ts'
import type { ViewName } from '../../paths.ts'
import { isUnfinished, isVisible } from '../../status-access.ts'
import { listHeaders, sendItems, toItems } from './send-list.ts'

export type ByIdsNeeds = {
  readMany: ReadMany
  awaitMany: AwaitMany
  /**
   * A place in the change log up to which the cache has no older entries: a client that reads a list and then follows
   * the changes from here misses none.
   */
  changesCursor: () => string
  waitingClients: WaitingClients
  /** Part of every ETag: the database, and the format of bodies. */
  tagPrefix: string
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
}

type Asked = { view: ViewName, ids: readonly string[], principal: Principal }

/** What a response shows of a job: a status, that it is gone, or, for every other reason, that it is unknown. */
const toShown = (entry: StatusEntry | undefined, principal: Principal): StatusEntry | undefined =>
  entry === undefined || !isVisible(entry, principal) || entry.state === 'invalid' ? undefined : entry

// Puts every requested id into exactly one of three lists.
const groupByVisibility = ({ ids, principal }: Asked, entries: readonly StatusEntry[]) => {
  const entryOf = new Map(entries.map(entry => [entry.jobId, entry]))
  const found: StatusEntry[] = []
  const notFound: string[] = []
  const expired: string[] = []
  for (const id of ids) {
    const entry = toShown(entryOf.get(id), principal)
    if (entry === undefined) notFound.push(id)
    else if (entry.state === 'expired') expired.push(id)
    else found.push(entry)
  }
  return { found, notFound, expired }
}

const unknown = '-'

// The version decides what is shown of a job; unknown jobs and those of other tenants are the same.
const toPrint = (entry: StatusEntry | undefined, principal: Principal): string =>
  String(toShown(entry, principal)?.version ?? unknown)

// Strong: the body is a function of what is hashed.
const createETag = (prefix: string) => ({ view, ids, principal }: Asked, entries: readonly StatusEntry[]): string => {
  const entryOf = new Map(entries.map(entry => [entry.jobId, entry]))
  const prints = ids.map(id => `${id} ${toPrint(entryOf.get(id), principal)}`)
  return `"${hash('sha256', JSON.stringify([prefix, view, prints]), 'base64url')}"`
}

// Until no job can get any further. Each change takes constant time.
const untilFinal = ({ principal }: Asked): Await => entries => {
  const isOpen = (entry: StatusEntry): boolean => isUnfinished(entry) && isVisible(entry, principal)
  const open = new Set(entries.filter(isOpen).map(({ jobId }) => jobId))
  if (open.size === 0) return null
  return entry => {
    if (isOpen(entry)) open.add(entry.jobId)
    else open.delete(entry.jobId)
    return open.size === 0
  }
}

const untilChanged = (
  { principal }: Asked, isKnown: (entries: readonly StatusEntry[]) => boolean
): Await => entries => {
  if (!isKnown(entries)) return null
  const shown = new Map(entries.map(entry => [entry.jobId, toPrint(entry, principal)]))
  return entry => toPrint(entry, principal) !== shown.get(entry.jobId)
}

/** Sends the jobs with these ids, and which ids are unknown or of jobs that are gone. */
export const createSendByIds = (needs: ByIdsNeeds, view: ViewName) => {
  const { readMany, awaitMany, changesCursor, waitingClients, tagPrefix, onShown } = needs
  const toETag = createETag(tagPrefix)

  return async (request: FastifyRequest, reply: FastifyReply, ids: readonly string[], wait: number | undefined) => {
    const { headers } = request
    const asked: Asked = { view, ids, principal: principalOf(request) }
    const condition = parseIfNoneMatch(headers['if-none-match'])
    const jobIds = ids.filter(isJobId)
    let cursor = ''
    const read = async (): Promise<StatusEntry[]> => {
      cursor = changesCursor()
      return await readMany(jobIds)
    }
    const awaited = hasTags(condition)
      ? untilChanged(asked, entries => matches(condition, toETag(asked, entries)))
      : untilFinal(asked)
    const entries = await waitFor(
      waitingClients, request, reply, wait, ended => awaitMany(jobIds, read, awaited, ended)
    ) ?? await read()
    const eTag = toETag(asked, entries)
    requireMatch(headers, eTag)
    const { found, notFound, expired } = groupByVisibility(asked, entries)
    for (const entry of found) onShown(entry)
    reply.headers({ etag: eTag, 'cache-control': 'private, no-cache', ...listHeaders(cursor) })
    if (matches(condition, eTag)) return reply.code(304).send()
    return sendItems(reply, view, await toItems(view, found), { notFound, expired })
  }
}
