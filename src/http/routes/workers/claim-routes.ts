import { Readable } from 'node:stream'
import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FailureCode } from '../../../errors.ts'
import type { InputReader } from '../../../job/input.ts'
import { jobTypePattern } from '../../../job/job.ts'
import { LeaseLost } from '../../../job/lease.ts'
import { toIso } from '../../../job/time.ts'
import type { LongPollClaim } from '../../../write/long-poll-claim.ts'
import type { Claim } from '../../../write/claim-job.ts'
import type { RunJob } from '../../../write/run-job.ts'
import { emptyResponse, failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { JobParams, leaseFailureCodes, leaseHeaders, withLease } from './with-lease.ts'
import { principalOf } from '../../auth/principal.ts'
import type { StatusAccess } from '../../status-access.ts'
import { reportRoutes, type ReportRouteNeeds } from './report-routes.ts'
import { uploadRoutes, type UploadRouteNeeds } from './upload-routes.ts'

const waitSecondsMax = 55
const leaseSecondsMax = 3600
const typesMax = 100
// A larger input is fetched apart: whoever claims need not have room for it at once.
const inputBytesInClaimMax = 256 * 1024

const ClaimRequest = Type.Object({
  types: Type.Array(Type.String({ pattern: jobTypePattern }), {
    minItems: 1, maxItems: typesMax, uniqueItems: true, description: 'What the worker can run.'
  }),
  leaseSeconds: Type.Optional(Type.Integer({
    minimum: 1, maximum: leaseSecondsMax, description: 'How long the worker may be silent before the job is given to another. Default: LEASE_SECONDS.'
  })),
  wait: Type.Optional(Type.Number({ minimum: 0, maximum: waitSecondsMax, description: 'Seconds to wait for a job while there is none. Default 0.' }))
}, { additionalProperties: false })

const ClaimedJob = Type.Object({
  jobId: Type.String(),
  type: Type.String(),
  input: Type.Optional(Type.Unknown({ description: 'The input, unless it is at inputUrl.' })),
  inputUrl: Type.Optional(Type.String({ description: 'Where the input is, if it is large or was sent as bytes; with the header Lease-Token.' })),
  inputContentType: Type.Optional(Type.String({ description: 'Of what is at inputUrl.' })),
  attempt: Type.Integer({ minimum: 1, description: 'Which run of the job this is.' }),
  leaseToken: Type.String({ description: 'For the header Lease-Token of all that concerns this run.' }),
  leaseExpiresAt: Type.String({ format: 'date-time', description: 'Every report before then prolongs the lease.' })
}, { additionalProperties: false })

const claimExample = {
  jobId: '3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66',
  type: 'thumbnail',
  input: { width: 200 },
  attempt: 1,
  leaseToken: 'n0Jv2m5pVbWQh1xZ',
  leaseExpiresAt: '2026-03-01T09:00:30.120Z'
}

const claimCodes: readonly FailureCode[] =
  ['VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

export type ClaimRouteNeeds = {
  statusAccess: StatusAccess
  longPollClaim: LongPollClaim
  runJob: RunJob
  inputs: InputReader
  /** How long a lease lasts unless the worker says otherwise. */
  leaseMs: number
  publicUrl: string | null
}

export type WorkerRouteNeeds = ClaimRouteNeeds & ReportRouteNeeds & UploadRouteNeeds

// Put together as text: the input is JSON already.
const toClaimBody = ({ jobId, type, input, raw, attempt, leaseToken, leaseExpiresAt }: Claim, publicUrl: string | null): string => {
  const isApart = raw !== null || Buffer.byteLength(input) > inputBytesInClaimMax
  const inputUrl = `${publicUrl ?? ''}/api/v1/worker/jobs/${jobId}/input`
  const place = isApart ? { inputUrl, inputContentType: raw?.contentType ?? 'application/json' } : {}
  const facts = JSON.stringify({ jobId, type, ...place, attempt, leaseToken, leaseExpiresAt: toIso(leaseExpiresAt) })
  return isApart ? facts : `${facts.slice(0, -1)},"input":${input}}`
}

const claimRoute: FastifyPluginAsyncTypebox<ClaimRouteNeeds> = (app, { longPollClaim, leaseMs, publicUrl }) => {
  app.post('/api/v1/worker/claim', {
    config: { scope: 'jobs:work' },
    schema: {
      operationId: 'claimJob',
      summary: 'Take a job to run',
      description: 'The job that has waited longest among the types, or 204. With `wait` the answer is held until there is one. No two workers hold one job.',
      tags: ['Workers'],
      body: ClaimRequest,
      response: {
        200: jsonResponse('The job, and the lease on it.', ClaimedJob, {
          headers: { 'Cache-Control': Type.String({ description: 'no-store' }) },
          examples: { claimed: { summary: 'A small input', value: claimExample } }
        }),
        204: emptyResponse('There is nothing to do.'),
        ...failureResponses(claimCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const { subject, tenant, allTenants } = principalOf(request)
    const { types, leaseSeconds, wait = 0 } = request.body
    const gone = new AbortController()
    reply.raw.once('close', () => { gone.abort() })
    if (reply.raw.destroyed) gone.abort()
    const claim = await longPollClaim.claim(
      { types, tenant: allTenants ? null : tenant },
      // Whatever a subject is called, it is none of this process's own.
      `http:${subject}`,
      leaseSeconds === undefined ? leaseMs : leaseSeconds * 1000,
      wait * 1000,
      gone.signal
    )
    if (claim === null) return reply.code(204).send()
    request.log.info({ jobId: claim.jobId, type: claim.type, attempt: claim.attempt, subject }, 'claimed')
    return reply.header('cache-control', 'no-store').type('application/json; charset=utf-8').send(toClaimBody(claim, publicUrl))
  })
  return Promise.resolve()
}

const inputResponse = {
  description: 'The input: JSON, or the bytes as they were sent.',
  headers: { 'Cache-Control': Type.String({ description: 'no-store' }), 'X-Content-Type-Options': Type.String({ description: 'nosniff' }) },
  content: { '*/*': { schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary' }) } }
}

const inputRoute: FastifyPluginAsyncTypebox<ClaimRouteNeeds> = (app, { statusAccess, runJob, inputs }) => {
  app.get('/api/v1/worker/jobs/:jobId/input', {
    config: { scope: 'jobs:work' },
    schema: {
      operationId: 'getJobInput',
      summary: 'The input of a claimed job',
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      response: { 200: inputResponse, ...failureResponses(leaseFailureCodes, 'Problem') }
    }
  }, async (request, reply) => {
    const found = await withLease(statusAccess, request, async lease => {
      await runJob.heartbeat(lease)
      const found = await inputs.find(lease.jobId)
      if (found === undefined) throw new LeaseLost(lease.jobId)
      return found
    })
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    const { raw, input } = found
    if (raw === null) return reply.type('application/json; charset=utf-8').send(input)
    reply.type(raw.contentType).header('content-length', raw.sizeBytes)
    return reply.send(Readable.from(request.method === 'HEAD' ? [] : inputs.read(raw), { objectMode: false }))
  })
  return Promise.resolve()
}

/** Where workers come for jobs, and report on them. */
export const workerRoutes: FastifyPluginAsyncTypebox<WorkerRouteNeeds> = async (app, needs) => {
  await app.register(claimRoute, needs)
  await app.register(inputRoute, needs)
  await app.register(reportRoutes, needs)
  await app.register(uploadRoutes, needs)
}
