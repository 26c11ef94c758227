import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../../errors.ts'
import { type Failure, isWebUrl } from '../../../job/job.ts'
import { truncatedDetails } from '../../../job/recorded/texts.ts'
import type { StatusEntry } from '../../../job/status-entry.ts'
import { toIso } from '../../../job/time.ts'
import { createResultDigest } from '../../../write/runs/result-digest.ts'
import type { RunJob } from '../../../write/runs/run-job.ts'
import type { RunOutcome } from '../../../write/runs/run-outcome.ts'
import type { ExpectedBytes, Uploads } from '../../../write/runs/uploads.ts'
import { withExamples } from '../../openapi/content.ts'
import { failureResponses, jsonResponse, statusHeaders } from '../../openapi/responses.ts'
import { jobStatusExamples } from '../../openapi/examples.ts'
import {
  Completion, completionExamples, failureExamples, FailureReport, progressExamples, ProgressReport, Release,
  reviseFailure, reviseProgress
} from './report-bodies.ts'
import { JobParams } from '../../openapi/params.ts'
import {
  cancelRequestedHeader, leaseFailureCodes, leaseHeaders, setCancelRequested, withLease
} from './with-lease.ts'
import { brokenRule } from '../../problem.ts'
import { principalOf } from '../../auth/principal.ts'
import type { StatusAccess } from '../../status-access.ts'
import { sendStatus } from '../send-status.ts'
import { bodyMemberText, storableMemberText, takeEmptyBodies } from '../../bodies/json-body.ts'

export type ReportRouteNeeds = { statusAccess: StatusAccess, runJob: RunJob, uploads: Uploads }

const LeaseResponse = Type.Object({
  leaseExpiresAt: Type.String({ format: 'date-time' }),
  cancelRequested: Type.Boolean({ description: 'If true, stop and report a failure; the job is then cancelled.' })
}, { additionalProperties: false })

const leaseExample = {
  summary: 'The job is still wanted', value: { leaseExpiresAt: '2026-03-01T09:00:30.120Z', cancelRequested: false }
}

const bodyCodes: readonly FailureCode[] = [...leaseFailureCodes, 'PAYLOAD_TOO_LARGE']

const endResponse = jsonResponse('The status of the job.', Type.Ref('JobStatus'), {
  headers: { ...statusHeaders, ...cancelRequestedHeader }, examples: jobStatusExamples
})

const toGivenResult = (json: string): RunOutcome => {
  const contentType = 'application/json'
  const bytes = Buffer.from(json)
  const digest = createResultDigest()
  digest.add(bytes)
  return { kind: 'given', bytes, facts: { contentType, fileName: 'result.json', ...digest.facts(contentType) } }
}

// Returns undefined if the uploaded bytes are the result.
const toRunOutcome = (completion: Completion): RunOutcome | undefined => {
  const { resultUrl } = completion
  const result = storableMemberText(completion, 'result')
  if (resultUrl === undefined) return result === undefined ? undefined : toGivenResult(result)
  if (result !== undefined) throw brokenRule('body', 'oneOf', 'must have result or resultUrl, not both')
  if (!isWebUrl(resultUrl)) {
    throw brokenRule('resultUrl', 'format', 'must be an http:// or https:// URL')
  }
  return { kind: 'external', url: new URL(resultUrl).href }
}

// A number in place of a text is recorded as it was written.
const toText = (report: FailureReport, name: 'code' | 'message'): string => {
  const written = bodyMemberText(report, 'error', name)
  return written !== undefined && /^[-\d]/.test(written) ? written : report.error[name]
}

const toFailure = (report: FailureReport): Failure => {
  const { details } = report.error
  const [code, message] = [toText(report, 'code'), toText(report, 'message')]
  if (details === undefined) return { code, message }
  const written = details === truncatedDetails ? undefined : bodyMemberText(report, 'error', 'details')
  return { code, message, detailsJson: written ?? JSON.stringify(details) }
}

const reprDigest = /^\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]+={0,2}):\s*$/

// RFC 9530. Other algorithms may stand beside sha-256.
const parseReprDigest = (header: string): string => {
  const digests = header.split(',').map(member => reprDigest.exec(member))
  const sha256 = digests.find(digest => digest?.[1] === 'sha-256')?.[2]
  if (digests.includes(null) || sha256 === undefined || Buffer.from(sha256, 'base64').byteLength !== 32) {
    throw brokenRule('repr-digest', 'format', 'must have the form sha-256=:<base64>:')
  }
  return sha256
}

const toExpectedBytes = ({ sizeBytes }: Completion, digest: string | undefined): ExpectedBytes => ({
  ...(typeof sizeBytes === 'number' ? { sizeBytes } : {}),
  ...(digest === undefined ? {} : { sha256: parseReprDigest(digest) })
})

const requireNothingExpected = (expected: ExpectedBytes): void => {
  for (const [name, field] of [['sizeBytes', 'sizeBytes'], ['sha256', 'repr-digest']] as const) {
    if (expected[name] === undefined) continue
    throw brokenRule(field, 'dependencies', 'is about uploaded bytes: not with result or resultUrl')
  }
}

const completionHeaders = {
  ...leaseHeaders,
  'repr-digest': Type.Optional(Type.String({
    description: 'sha-256=:<base64>: of the uploaded bytes (RFC 9530). If the stored ones differ, the run goes on.'
  }))
}

const progressRoute: FastifyPluginAsyncTypebox<ReportRouteNeeds> = (app, { statusAccess, runJob }) => {
  takeEmptyBodies(app, { revise: reviseProgress, replacesBytes: true })
  app.post('/api/v1/worker/jobs/:jobId/progress', {
    config: { scope: 'jobs:work' },
    schema: {
      operationId: 'reportProgress',
      summary: 'Report progress and renew the lease',
      description: 'An empty body, or `{}`, is a heartbeat: it renews the lease, and clients see no change.',
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      body: withExamples(ProgressReport, progressExamples),
      response: {
        200: jsonResponse('The state of the lease.', LeaseResponse, { examples: { held: leaseExample } }),
        ...failureResponses(bodyCodes, 'Problem')
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

// A run that ends after a cancellation was requested either completes in time or leaves the job cancelled.
const sendEnd = (statusAccess: StatusAccess, request: FastifyRequest, reply: FastifyReply, entry: StatusEntry) => {
  setCancelRequested(reply, entry.state === 'cancelled')
  return sendStatus(reply, statusAccess.toRepresentation('v1', entry, principalOf(request)))
}

const completeDescription =
  `With an empty body, or \`{}\`, the uploaded bytes are the result; without an upload the job has
none. Otherwise the body holds the result as JSON, or its URL.`

const completeRoute: FastifyPluginAsyncTypebox<ReportRouteNeeds> = (app, { statusAccess, runJob, uploads }) => {
  takeEmptyBodies(app)
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
      headers: Type.Object(completionHeaders),
      body: withExamples(Completion, completionExamples),
      response: { 200: endResponse, ...failureResponses([...bodyCodes, 'OFFSET_MISMATCH'], 'Problem') }
    }
  }, async (request, reply) => {
    const outcome = toRunOutcome(request.body)
    const expected = toExpectedBytes(request.body, request.headers['repr-digest'])
    if (outcome !== undefined) requireNothingExpected(expected)
    const entry = await withLease(statusAccess, request, lease =>
      outcome === undefined ? uploads.complete(lease, expected) : runJob.complete(lease, outcome))
    return sendEnd(statusAccess, request, reply, entry)
  })
  return Promise.resolve()
}

const failDescription =
  `The job is queued again after 1 s, 2 s, 4 s … 60 s. It fails if the failure is not retryable or no
attempt is left, and is cancelled if cancellation was requested.`

const failRoute: FastifyPluginAsyncTypebox<ReportRouteNeeds> = (app, { statusAccess, runJob }) => {
  takeEmptyBodies(app, { revise: reviseFailure, replacesBytes: true })
  app.post('/api/v1/worker/jobs/:jobId/fail', {
    config: { scope: 'jobs:work', tooLarge: 'The failure is too large for this route: send it with shorter details.' },
    schema: {
      operationId: 'failJob',
      summary: 'Fail a run',
      description: failDescription,
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      body: withExamples(FailureReport, failureExamples),
      response: { 200: endResponse, ...failureResponses(bodyCodes, 'Problem') }
    }
  }, async (request, reply) => {
    const { retryable = true } = request.body
    const failure = toFailure(request.body)
    const entry = await withLease(statusAccess, request, lease => runJob.fail(lease, failure, retryable))
    return sendEnd(statusAccess, request, reply, entry)
  })
  return Promise.resolve()
}

const releaseDescription =
  `Gives the job back unfinished: it can be claimed at once, and the attempt does not count. The next run has its number
and begins its result from the start.`

const releaseRoute: FastifyPluginAsyncTypebox<ReportRouteNeeds> = (app, { statusAccess, runJob }) => {
  takeEmptyBodies(app)
  app.post('/api/v1/worker/jobs/:jobId/release', {
    config: { scope: 'jobs:work' },
    schema: {
      operationId: 'releaseJob',
      summary: 'Release a run',
      description: releaseDescription,
      tags: ['Workers'],
      params: JobParams,
      headers: Type.Object(leaseHeaders),
      body: withExamples(Release, { released: { summary: 'A release', value: {} } }),
      response: { 200: endResponse, ...failureResponses(bodyCodes, 'Problem') }
    }
  }, async (request, reply) => {
    const entry = await withLease(statusAccess, request, runJob.release)
    return sendEnd(statusAccess, request, reply, entry)
  })
  return Promise.resolve()
}

/** Accepts the reports of workers on the jobs that they hold. */
export const reportRoutes: FastifyPluginAsyncTypebox<ReportRouteNeeds> = async (app, needs) => {
  await app.register(progressRoute, needs)
  await app.register(completeRoute, needs)
  await app.register(failRoute, needs)
  await app.register(releaseRoute, needs)
}
