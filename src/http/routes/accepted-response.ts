import type { StatusEntry } from '../../job/status-entry.ts'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { retryAfterSeconds } from '../../job/pacing.ts'
import { brokenRule } from '../problem.ts'

/** The headers of a submission's answer, as the OpenAPI document has them. */
export const acceptedHeaders = {
  Location: Type.String({ format: 'uri', description: 'The absolute URL of the status.' }),
  'Operation-Location': Type.String({ format: 'uri', description: 'The same.' }),
  'Retry-After': Type.Integer({ minimum: 1 }),
  'Cache-Control': Type.String({ description: 'no-store' }),
  'Idempotency-Replayed': Type.String({ description: 'true: an earlier request with this key made the job.' })
}

/** The header under which a repeated submission is the same one. */
export const idempotencyHeader = Type.Object({
  'idempotency-key': Type.Optional(Type.String({
    minLength: 1, maxLength: 255, pattern: '^[\\x21-\\x7e]+$', description: 'Kept for 24 hours, per tenant.'
  }))
})

/** Throws VALIDATION_FAILED for a type that JOB_TYPES leaves out; null: any is accepted. */
export const requireAcceptedType = (type: string, jobTypes: readonly string[] | null): void => {
  if (jobTypes?.includes(type) === false) throw brokenRule('type', 'enum', `must be one of: ${jobTypes.join(', ')}`)
}

// A request of HTTP/1.0 may come without a host.
const originOf = ({ protocol, host, socket }: FastifyRequest): string =>
  `${protocol}://${host === '' ? `${socket.localAddress}:${socket.localPort}` : host}`

/** Where an accepted job can be asked for, and how soon; `path` of its status. */
export const setAcceptedHeaders = (
  request: FastifyRequest, reply: FastifyReply, { entry, replayed, path, publicUrl }: { entry: StatusEntry, replayed: boolean, path: string, publicUrl: string | null }
): void => {
  const location = (publicUrl ?? originOf(request)) + path
  const pause = retryAfterSeconds(entry.pollAfterMs)
  reply.headers({ location, 'operation-location': location, 'retry-after': pause, 'cache-control': 'no-store' })
  if (replayed) reply.header('idempotency-replayed', 'true')
}
