import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type LeaseHeld, LeaseLost, OffsetMismatch, ResultBegun } from '../../../job/lease.ts'
import { type FailureCode, ServiceFailure } from '../../../errors.ts'
import { exampleLeaseToken } from '../../openapi/examples.ts'
import { brokenRule } from '../../problem.ts'
import { maySee, principalOf } from '../../auth/principal.ts'
import { requireJobId } from '../../job-id.ts'
import type { StatusAccess } from '../../status-access.ts'

/*
 * The common parts of the routes that need a lease on the job.
 */

export const leaseHeaders = {
  'lease-token': Type.String({
    minLength: 1, maxLength: 200, description: 'The leaseToken of the claim.', examples: [exampleLeaseToken]
  })
}

/** The documented header of responses whose body has no place for `cancelRequested`. */
export const cancelRequestedHeader = {
  'Cancel-Requested': Type.String({
    description: '`true` if a client has requested to cancel the job, else `false`.'
  })
}

export const setCancelRequested = (reply: FastifyReply, cancelRequested: boolean): FastifyReply =>
  reply.header('cancel-requested', String(cancelRequested))

/** The failures that all of them share. */
export const leaseFailureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'LEASE_LOST', 'JOB_EXPIRED',
  'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE'
]

type LeasedRequest =
  Pick<FastifyRequest, 'principal'> & { params: { jobId: string }, headers: { 'lease-token': string } }

const toLeaseFailure = (error: unknown): unknown => {
  if (error instanceof LeaseLost) {
    const detail = 'The lease expired or the run has ended: stop this run. The service kept nothing of this request.'
    return new ServiceFailure('LEASE_LOST', detail)
  }
  if (error instanceof OffsetMismatch) {
    const { offset, message } = error
    return new ServiceFailure('OFFSET_MISMATCH', `${message.charAt(0).toUpperCase()}${message.slice(1)}.`, { offset })
  }
  if (error instanceof ResultBegun) {
    return brokenRule('body', 'resultBegun', 'must be empty: the uploaded bytes of this run are its result')
  }
  return error
}

/**
 * Runs a command with the lease of the request. Throws JOB_NOT_FOUND, JOB_EXPIRED, and the failures of the command as
 * failures for the client.
 *
 * The command itself compares the tenant of the job with that of the token, in the transaction that checks the lease, so
 * a report that is accepted reads the status of its job only once. Whatever else happens, the job has to be visible
 * before the client learns of it.
 */
export const withLease = async <Value>(
  statusAccess: StatusAccess, request: LeasedRequest, work: (lease: LeaseHeld) => Promise<Value>
): Promise<Value> => {
  const { params: { jobId }, headers: { 'lease-token': leaseToken } } = request
  const principal = principalOf(request)
  requireJobId('v1', jobId)
  try {
    return await work({ jobId, leaseToken, maySee: tenant => maySee(principal, tenant) })
  } catch (error) {
    await statusAccess.readVisible('v1', jobId, principal, undefined)
    throw toLeaseFailure(error)
  }
}
