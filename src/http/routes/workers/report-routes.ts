import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from '@sinclair/typebox'
import type { FailureCode } from '../../../errors.ts'
import { isWebUrl } from '../../../job/job.ts'
import { toIso } from '../../../job/time.ts'
import { createResultDigest } from '../../../write/result-digest.ts'
import type { RunOutcome, RunJob } from '../../../write/run-job.ts'
import type { Uploads } from '../../../write/uploads.ts'
import { failureResponses, jsonResponse, statusHeaders } from '../../openapi/responses.ts'
import { jobStatusExamples } from '../../openapi/examples.ts'
import { JobParams, leaseFailureCodes, leaseHeaders, withLease } from './with-lease.ts'
import { brokenRule } from '../../problem.ts'
import { principalOf } from '../../auth/principal.ts'
import type { StatusAccess } from '../../status-access.ts'
import { sendStatus } from '../send-status.ts'
import { takeEmptyBodies } from '../../bodies/json-body.ts'

const urlLengthMax = 2048
const detailsBytesMax = 16 * 1024

export type ReportRouteNeeds = { statusAccess: StatusAccess, runJob: RunJob, uploads: Uploads }

const ProgressReport = Type.Object({
  percent: Type.Optional(Type.Number({
    minimum: 0,
    maximum: 100,
    description: 'A lower value than before is accepted and ignored; clients see at most 99 until the job is complete.'
  })),
  done: Type.Optional(Type.Number({ minimum: 0 })),
  total: Type.Optional(Type.Number({ minimum: 0 })),
  stage: Type.Optional(Type.String({ maxLength: 100 })),
  message: Type.Optional(Type.String({ maxLength: 1000 }))
}, { additionalProperties: false })

const LeaseResponse = Type.Object({
  leaseExpiresAt: Type.String({ format: 'date-time' }),
  cancelRequested: Type.Boolean({ description: 'If true, stop and report a failure; the job is then cancelled.' })
}, { additionalProperties: false })

const Completion = Type.Object({
  result: Type.Optional(Type.Unknown({ description: 'The result: any JSON value, including null.' })),
  resultUrl: Type.Optional(Type.String({
    maxLength: urlLengthMax, description: 'The URL of a result stored elsewhere, http or https.'
  }))
}, { additionalProperties: false })
type Completion = Static<typeof Completion>

const FailureReport = Type.Object({
  error: Type.Object({
    code: Type.String({ minLength: 1, maxLength: 100 }),
    message: Type.String({ maxLength: 2000 }),
    details: Type.Optional(Type.Unknown({ description: 'Any JSON value of at most 16 KiB.' }))
  }, { additionalProperties: false }),
  retryable: Type.Optional(Type.Boolean({ description: 'Whether another attempt may succeed. Default: true.' }))
}, { additionalProperties: false })

const bodyCodes: readonly FailureCode[] = [...leaseFailureCodes, 'PAYLOAD_TOO_LARGE']

const endResponse = jsonResponse('The status of the job.', Type.Ref('JobStatus'), {
  headers: statusHeaders, examples: jobStatusExamples
})

const toGivenResult = (value: unknown): RunOutcome => {
  const contentType = 'application/json'
  const bytes = Buffer.from(JSON.stringify(value))
  const digest = createResultDigest()
  digest.add(bytes)
  return { kind: 'given', bytes, facts: { contentType, fileName: 'result.json', ...digest.facts(contentType) } }
}

// Returns undefined if the uploaded bytes are the result.
const toRunOutcome = (completion: Completion): RunOutcome | undefined => {
  const { result, resultUrl } = completion
  const hasResult = Object.hasOwn(completion, 'result')
  if (resultUrl === undefined) return hasResult ? toGivenResult(result) : undefined
  if (hasResult) throw brokenRule('body', 'oneOf', 'must have result or resultUrl, not both')
  if (!isWebUrl(resultUrl)) {
    throw brokenRule('resultUrl', 'format', 'must be an http:// or https:// URL')
  }
  return { kind: 'external', url: new URL(resultUrl).href }
}

const requireSmallDetails = (details: unknown): void => {
  if (details === undefined || Buffer.byteLength(JSON.stringify(details)) <= detailsBytesMax) return
  throw brokenRule('error.details', 'maxLength', `must have at most ${detailsBytesMax} bytes as JSON`)
}

const progressRoute: FastifyPluginAsyncTypebox<ReportRouteNeeds> = (app, { statusAccess, runJob }) => {
  app.post('/api/v1/worker/jobs/:jobId/progress', {
    config: { scope: 'jobs:work' },
    schema: {
      operationId: 'reportProgress',
      summary: 'Report progress and renew the lease',
      description: 'An empty body, or `{}`, is a heartbeat: it renews the lease, and clients see no change.',
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      body: ProgressReport,
      response: {
        200: jsonResponse('The state of the lease.', LeaseResponse), ...failureResponses(bodyCodes, 'Problem')
      }
    }
  }, request => withLease(statusAccess, request, async lease => {
    const { body } = request
    const isHeartbeat = Object.keys(body).length === 0
    const state = isHeartbeat ? await runJob.heartbeat(lease) : await runJob.progress(lease, body)
    return { leaseExpiresAt: toIso(state.leaseExpiresAt), cancelRequested: state.cancelRequested }
  }))
  return Promise.resolve()
}

const completeDescription =
  `With an empty body, or \`{}\`, the uploaded bytes are the result; without an upload the job has
none. Otherwise the body holds the result as JSON, or its URL.`

const failDescription =
  `The job is queued again after 1 s, 2 s, 4 s … 60 s. It fails if the failure is not retryable or no
attempt is left, and is cancelled if cancellation was requested.`

const endRoutes: FastifyPluginAsyncTypebox<ReportRouteNeeds> = (app, { statusAccess, runJob, uploads }) => {
  app.post('/api/v1/worker/jobs/:jobId/complete', {
    config: {
      scope: 'jobs:work',
      tooLarge: 'The result is too large for this route: upload it with PUT, then complete with an empty body.'
    },
    schema: {
      operationId: 'completeJob',
      summary: 'Complete a run',
      description: completeDescription,
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      body: Completion,
      response: { 200: endResponse, ...failureResponses([...bodyCodes, 'OFFSET_MISMATCH'], 'Problem') }
    }
  }, async (request, reply) => {
    const outcome = toRunOutcome(request.body)
    const entry = await withLease(statusAccess, request, lease =>
      outcome === undefined ? uploads.complete(lease) : runJob.complete(lease, outcome))
    return sendStatus(reply, statusAccess.toRepresentation('v1', entry, principalOf(request)))
  })

  app.post('/api/v1/worker/jobs/:jobId/fail', {
    config: { scope: 'jobs:work' },
    schema: {
      operationId: 'failJob',
      summary: 'Fail a run',
      description: failDescription,
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      body: FailureReport,
      response: { 200: endResponse, ...failureResponses(bodyCodes, 'Problem') }
    }
  }, async (request, reply) => {
    const { error, retryable = true } = request.body
    requireSmallDetails(error.details)
    const entry = await withLease(statusAccess, request, lease => runJob.fail(lease, error, retryable))
    return sendStatus(reply, statusAccess.toRepresentation('v1', entry, principalOf(request)))
  })
  return Promise.resolve()
}

/** Accepts the reports of workers on the jobs that they hold. */
export const reportRoutes: FastifyPluginAsyncTypebox<ReportRouteNeeds> = async (app, needs) => {
  takeEmptyBodies(app)
  await app.register(progressRoute, needs)
  await app.register(endRoutes, needs)
}
