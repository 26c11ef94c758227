import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { StatusEntry } from '../../../job/status-entry.ts'
import { retryAfterSeconds } from '../../../job/pacing.ts'
import type { Submitted } from '../../../write/submit-job.ts'
import { principalOf } from '../../auth/principal.ts'
import { waitFor } from '../../headers/wait.ts'
import type { WaitingClients } from '../../limits/waiting-clients.ts'
import { statusPath } from '../../paths.ts'
import { brokenRule } from '../../problem.ts'
import { requireVisible, type StatusAccess } from '../../status-access.ts'

/** The documented headers of the response to a submission. */
export const acceptedHeaders = {
  Location: Type.String({ format: 'uri', description: 'The absolute URL of the status in the v1 view.' }),
  'Operation-Location': Type.String({ format: 'uri', description: 'The same URL.' }),
  'Retry-After': Type.Integer({ minimum: 1 }),
  'Cache-Control': Type.String({ description: 'no-store' }),
  'Idempotency-Replayed': Type.String({ description: 'true if an earlier request with this key created the job.' })
}

/** The request header that identifies a repeated submission. */
export const idempotencyHeader = Type.Object({
  'idempotency-key': Type.Optional(Type.String({
    minLength: 1, maxLength: 255, pattern: '^[\\x21-\\x7e]+$', description: 'Stored for 24 hours, per tenant.'
  }))
})

/** Throws VALIDATION_FAILED if `jobTypes` (JOB_TYPES) lists other types only; null accepts every type. */
export const requireAcceptedType = (type: string, jobTypes: readonly string[] | null): void => {
  if (jobTypes?.includes(type) === false) throw brokenRule('type', 'enum', `must be one of: ${jobTypes.join(', ')}`)
}

export type AwaitAcceptedNeeds = {
  statusAccess: Pick<StatusAccess, 'awaitEnd'>
  waitingClients: WaitingClients
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void
}

/**
 * Waits for the end of an accepted job, if the request asks to, and returns it as it then is. An accepted job is never
 * answered with a failure of the wait: the client would not learn its id. Throws what `requireVisible` throws.
 */
export const awaitAccepted = async (
  { statusAccess, waitingClients, onShown }: AwaitAcceptedNeeds,
  { request, reply, wait }: { request: FastifyRequest, reply: FastifyReply, wait: number | undefined },
  { entry }: Submitted
): Promise<StatusEntry> => {
  const principal = principalOf(request)
  requireVisible(entry, principal)
  const newest = await waitFor(
    waitingClients, request, reply, wait, ended => statusAccess.awaitEnd(entry, principal, ended)
  ) ?? entry
  onShown(newest)
  return requireVisible(newest, principal)
}

export type AcceptedJob = { entry: StatusEntry, replayed: boolean, baseUrl: string }

/**
 * Sets the URL of the status and the time of the first poll. The URL is that of the v1 view, whatever the route:
 * pollers of long-running operations look for `status` at the top level of what Operation-Location returns.
 */
export const setAcceptedHeaders = (reply: FastifyReply, { entry, replayed, baseUrl }: AcceptedJob): void => {
  const location = baseUrl + statusPath('v1', entry.jobId)
  const pause = retryAfterSeconds(entry.pollAfterMs)
  reply.headers({ location, 'operation-location': location, 'retry-after': pause, 'cache-control': 'no-store' })
  if (replayed) reply.header('idempotency-replayed', 'true')
}
