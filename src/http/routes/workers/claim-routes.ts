import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FailureCode } from '../../../errors.ts'
import type { InputReader } from '../../../job/input.ts'
import { jobTypePattern } from '../../../job/job.ts'
import { LeaseLost } from '../../../job/lease.ts'
import { Nullable, OptionalOrNull } from '../../../job/schema-kinds.ts'
import { toIso } from '../../../job/time.ts'
import type { LongPollClaim } from '../../../write/runs/long-poll-claim.ts'
import type { Claim } from '../../../write/runs/claim-job.ts'
import type { RunJob } from '../../../write/runs/run-job.ts'
import { anyContent, withExamples } from '../../openapi/content.ts'
import { exampleJobId, exampleLeaseToken } from '../../openapi/examples.ts'
import { emptyResponse, failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { JobParams } from '../../openapi/params.ts'
import {
  cancelRequestedHeader, leaseFailureCodes, leaseHeaders, setCancelRequested, withLease
} from './with-lease.ts'
import { principalOf } from '../../auth/principal.ts'
import { waitSecondsMax } from '../../headers/wait.ts'
import type { StatusAccess } from '../../status-access.ts'
import { reportRoutes, type ReportRouteNeeds } from './report-routes.ts'
import { uploadRoutes, type UploadRouteNeeds } from './upload-routes.ts'

const leaseSecondsMax = 3600
const typesMax = 100
// A worker fetches a larger input separately, as a stream, so that a claim never needs the memory for it.
const inputBytesInClaimMax = 256 * 1024

const ClaimRequest = Type.Object({
  types: Type.Array(Type.String({ pattern: jobTypePattern }), {
    minItems: 1, maxItems: typesMax, uniqueItems: true, description: 'The job types that the worker can run.'
  }),
  leaseSeconds: OptionalOrNull(Type.Integer({
    minimum: 1,
    maximum: leaseSecondsMax,
    description: 'Seconds without a report after which the job goes to another worker. Default: LEASE_SECONDS.'
  })),
  wait: OptionalOrNull(Type.Number({
    minimum: 0, maximum: waitSecondsMax, description: 'Seconds to wait while no job is available. Default: 0.'
  }))
}, { additionalProperties: false })

const ClaimedJob = Type.Object({
  jobId: Type.String(),
  type: Type.String(),
  input: Type.Optional(Type.Unknown({ description: 'The input, unless there is an inputUrl.' })),
  inputUrl: Type.Optional(Type.String({
    description: 'The URL of an input that is large or was sent as raw bytes. It needs the header Lease-Token.'
  })),
  inputContentType: Type.Optional(Type.String({ description: 'The media type of the input at inputUrl.' })),
  attempt: Type.Integer({ minimum: 1, description: 'The number of this attempt.' }),
  maxAttempts: Type.Integer({ minimum: 1, description: 'The job fails if this attempt fails and is the last.' }),
  timeoutSeconds: Nullable(Type.Integer({
    minimum: 1, description: 'Seconds after which this attempt is ended; null: never.'
  })),
  tenant: Nullable(Type.String({ description: 'The tenant that the job belongs to.' })),
  leaseToken: Type.String({ description: 'The value of the header Lease-Token in all requests of this run.' }),
  leaseExpiresAt: Type.String({
    format: 'date-time', description: 'Report before this time: each report renews the lease.'
  }),
  cancelRequested: Type.Boolean({ description: 'false: no run begins after a cancellation.' })
}, { additionalProperties: false })

const requestExample = { summary: 'One type, with a longer lease', value: { types: ['thumbnail'], leaseSeconds: 60 } }

const claimExample = {
  jobId: exampleJobId,
  type: 'thumbnail',
  input: { width: 200 },
  attempt: 1,
  maxAttempts: 3,
  timeoutSeconds: null,
  tenant: 'acme',
  leaseToken: exampleLeaseToken,
  leaseExpiresAt: '2026-03-01T09:00:30.120Z',
  cancelRequested: false
}

const claimCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL',
  'STORE_UNAVAILABLE'
]

export type ClaimRouteNeeds = {
  statusAccess: StatusAccess
  longPollClaim: LongPollClaim
  runJob: RunJob
  inputs: InputReader
  /** The duration of a lease unless the worker requests another one. */
  leaseMs: number
  publicUrl: string | null
}

export type WorkerRouteNeeds = ClaimRouteNeeds & ReportRouteNeeds & UploadRouteNeeds

// The body is built as text, since the input is JSON text already.
const toClaimBody = (claim: Claim, publicUrl: string | null): string => {
  const { jobId, type, tenant, input, raw, attempt, maxAttempts, timeoutMs, leaseToken, leaseExpiresAt } = claim
  const isSeparate = raw !== null || Buffer.byteLength(input) > inputBytesInClaimMax
  const inputUrl = `${publicUrl ?? ''}/api/v1/worker/jobs/${jobId}/input`
  const place = isSeparate ? { inputUrl, inputContentType: raw?.contentType ?? 'application/json' } : {}
  const facts = JSON.stringify({
    jobId,
    type,
    tenant,
    ...place,
    attempt,
    maxAttempts,
    timeoutSeconds: timeoutMs === null ? null : timeoutMs / 1000,
    leaseToken,
    leaseExpiresAt: toIso(leaseExpiresAt),
    cancelRequested: false
  })
  return isSeparate ? facts : `${facts.slice(0, -1)},"input":${input}}`
}

const claimDescription =
  `Returns the job that has waited longest among the types, or 204. With \`wait\` the response is held
until a job is available. Two workers never hold the same job.`

const claimRoute: FastifyPluginAsyncTypebox<ClaimRouteNeeds> = (app, { longPollClaim, leaseMs, publicUrl }) => {
  app.post('/api/v1/worker/claim', {
    config: { scope: 'jobs:work', kind: 'claim' },
    schema: {
      operationId: 'claimJob',
      summary: 'Claim a job',
      description: claimDescription,
      tags: ['Workers'],
      body: withExamples(ClaimRequest, { claim: requestExample }),
      response: {
        200: jsonResponse('The job and its lease.', ClaimedJob, {
          headers: { 'Cache-Control': Type.String({ description: 'no-store' }) },
          examples: { claimed: { summary: 'A small input', value: claimExample } }
        }),
        204: emptyResponse('No job is available.'),
        ...failureResponses(claimCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const { subject, tenant, allTenants } = principalOf(request)
    const { types, leaseSeconds, wait = 0 } = request.body
    request.isLongPoll = wait > 0
    const disconnected = new AbortController()
    // To abort a signal makes an error with a stack. A response that was sent closes, too.
    reply.raw.once('close', () => { if (!reply.raw.writableFinished) disconnected.abort() })
    if (reply.raw.destroyed) disconnected.abort()
    const claim = await longPollClaim.claim(
      { types, tenant: allTenants ? null : tenant },
      // The prefix keeps any subject apart from the holders of the embedded worker.
      `http:${subject}`,
      leaseSeconds === undefined ? leaseMs : leaseSeconds * 1000,
      wait * 1000,
      disconnected.signal
    )
    if (claim === null) return reply.code(204).send()
    request.log.info({ jobId: claim.jobId, type: claim.type, attempt: claim.attempt, subject }, 'claimed')
    return reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
      .send(toClaimBody(claim, publicUrl))
  })
  return Promise.resolve()
}

const inputResponse = {
  description: 'The input: JSON, or the raw bytes as the client sent them.',
  headers: {
    'Cache-Control': Type.String({ description: 'no-store' }),
    'X-Content-Type-Options': Type.String({ description: 'nosniff' }),
    ...cancelRequestedHeader
  },
  content: anyContent
}

const inputRoute: FastifyPluginAsyncTypebox<ClaimRouteNeeds> = (app, { statusAccess, runJob, inputs }) => {
  app.get('/api/v1/worker/jobs/:jobId/input', {
    config: { scope: 'jobs:work', kind: 'download' },
    schema: {
      operationId: 'getJobInput',
      summary: 'The input of a claimed job',
      description: 'What the client submitted, as it was sent. Like every report, the request renews the lease.',
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      response: { 200: inputResponse, ...failureResponses(leaseFailureCodes, 'Problem') }
    }
  }, async (request, reply) => {
    const { raw, input, cancelRequested } = await withLease(statusAccess, request, async lease => {
      const { cancelRequested } = await runJob.heartbeat(lease)
      const found = await inputs.find(lease.jobId)
      if (found === undefined) throw new LeaseLost(lease.jobId)
      return { ...found, cancelRequested }
    })
    setCancelRequested(reply, cancelRequested)
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    if (raw === null) return reply.type('application/json; charset=utf-8').send(input)
    reply.type(raw.contentType).header('content-length', raw.sizeBytes)
    return reply.send(Readable.from(request.method === 'HEAD' ? [] : inputs.read(raw), { objectMode: false }))
  })
  return Promise.resolve()
}

/** Everything that workers need: claims, inputs, reports and uploads. */
export const workerRoutes: FastifyPluginAsyncTypebox<WorkerRouteNeeds> = async (app, needs) => {
  await app.register(claimRoute, needs)
  await app.register(inputRoute, needs)
  await app.register(reportRoutes, needs)
  await app.register(uploadRoutes, needs)
}
