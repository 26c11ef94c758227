import { type LeaseHeld, LeaseLost, OffsetMismatch, ResultBegun } from '../../../job/lease.ts'
import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { type FailureCode, ServiceFailure } from '../../../errors.ts'
import { brokenRule } from '../../problem.ts'
import { principalOf } from '../../auth/principal.ts'
import type { StatusAccess } from '../../status-access.ts'

/*
 * What the routes have in common that only the holder of a lease may use.
 */

export const JobParams = Type.Object({ jobId: Type.String({ description: 'As the claim told it.' }) })

export const leaseHeaders = {
  'lease-token': Type.String({ minLength: 1, maxLength: 200, description: 'As the claim told it.' })
}

/** What all of them can fail with. */
export const leaseFailureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'LEASE_LOST', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL',
  'STORE_UNAVAILABLE'
]

type Leased = Pick<FastifyRequest, 'principal'> & { params: { jobId: string }, headers: { 'lease-token': string } }

const toLeaseFailure = (error: unknown): unknown => {
  if (error instanceof LeaseLost) {
    return new ServiceFailure('LEASE_LOST', 'The lease ran out, or the run is over: stop working on this job. Nothing of this request was kept.')
  }
  if (error instanceof OffsetMismatch) {
    return new ServiceFailure('OFFSET_MISMATCH', `The result goes on at offset ${error.offset}.`, { offset: error.offset })
  }
  if (error instanceof ResultBegun) {
    return brokenRule('body', 'resultBegun', 'must be empty: this run has uploaded bytes, and they are its result')
  }
  return error
}

/** Does what the holder of a lease asks for. Throws JOB_NOT_FOUND, JOB_EXPIRED, and the commands' failures as the client may hear of them. */
export const withLease = async <Value>(statusAccess: StatusAccess, request: Leased, work: (lease: LeaseHeld) => Promise<Value>): Promise<Value> => {
  const { jobId } = request.params
  await statusAccess.readVisible('v1', jobId, principalOf(request), undefined)
  try {
    return await work({ jobId, leaseToken: request.headers['lease-token'] })
  } catch (error) {
    throw toLeaseFailure(error)
  }
}
