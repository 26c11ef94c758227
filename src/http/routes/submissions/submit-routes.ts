import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from '@sinclair/typebox'
import type { Violation } from '../../../schema-check.ts'
import type { FailureCode } from '../../../errors.ts'
import { jobTypePattern } from '../../../job/job.ts'
import { OptionalOrNull } from '../../../job/schema-kinds.ts'
import type { StatusEntry } from '../../../job/status-entry.ts'
import type { Submitted, SubmitJob } from '../../../write/submit-job.ts'
import {
  acceptedHeaders, awaitAccepted, type AwaitAcceptedNeeds, idempotencyHeader, requireAcceptedType, setAcceptedHeaders
} from './accepted-response.ts'
import { callbackFields, type CallbackRules, toCallback } from './callback-fields.ts'
import { baseUrlOf } from '../../headers/base-url.ts'
import { principalOf, type Principal } from '../../auth/principal.ts'
import { storableMemberText } from '../../bodies/json-body.ts'
import { mayWait, waitParameter } from '../../headers/wait.ts'
import { statusPath } from '../../paths.ts'
import { requireScope, type Scope } from '../../auth/authenticate.ts'
import { failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { withExamples } from '../../openapi/content.ts'
import { exampleOrigin, jobStatusExamples } from '../../openapi/examples.ts'
import { toFieldError, validationFailure } from '../../problem.ts'
import { JobStatus } from '../../../views/schemas.ts'

const timeoutSecondsMax = 86_400
const maxAttemptsMax = 100

const createSubmissionSchema = (retentionSecondsMax: number) => Type.Object({
  type: Type.String({
    pattern: jobTypePattern, description: 'The type of job: report, sanitize, or a type that your own workers claim.'
  }),
  input: Type.Unknown({ description: 'Any JSON value; the type determines its shape.' }),
  maxAttempts: OptionalOrNull(Type.Integer({
    minimum: 1, maximum: maxAttemptsMax, description: 'The most attempts before the job fails. Default: 3.'
  })),
  timeoutSeconds: OptionalOrNull(Type.Integer({
    minimum: 1, maximum: timeoutSecondsMax, description: 'The time limit of one attempt. Default: no limit.'
  })),
  retentionSeconds: OptionalOrNull(Type.Integer({
    minimum: 1,
    maximum: retentionSecondsMax,
    description: 'How long the stored result is kept. Default and maximum: the retention time of the service.'
  })),
  ...callbackFields
}, { additionalProperties: false })
type JobSubmission = Static<ReturnType<typeof createSubmissionSchema>>

const SubmittedJob = Type.Object({
  ...JobStatus.properties,
  statusUrl: Type.String({ format: 'uri', description: 'The absolute URL of the status.' }),
  taskUrl: Type.String({ format: 'uri', description: 'The absolute URL of the status in the task view.' })
}, { additionalProperties: false })

/** A type that this process can run. Its input is validated on submission, not when the job fails an hour later. */
export type KnownType = { needsScopes: readonly Scope[], validateInput: (input: unknown) => Violation[] }

export type SubmitRouteNeeds = AwaitAcceptedNeeds & {
  submitJob: SubmitJob
  knownTypes: ReadonlyMap<string, KnownType>
  /** The longest retention time of a result that a submission may request. */
  retentionSecondsMax: number
  /** The only job types accepted; null: any. */
  jobTypes: readonly string[] | null
  callbacks: CallbackRules
  publicUrl: string | null
}

const requireAcceptable = (submission: JobSubmission, principal: Principal, needs: SubmitRouteNeeds): void => {
  const { type, input } = submission
  const { jobTypes, knownTypes } = needs
  requireAcceptedType(type, jobTypes)
  const known = knownTypes.get(type)
  if (known === undefined) return
  for (const scope of known.needsScopes) requireScope(principal, scope)
  const errors = known.validateInput(input).map(violation =>
    toFieldError({ ...violation, instancePath: `/input${violation.instancePath}` }, 'input'))
  if (errors.length > 0) throw validationFailure(errors)
}

const failureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'CALLBACK_REFUSED', 'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'PAYLOAD_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE', 'IDEMPOTENCY_KEY_REUSED', 'INTERNAL', 'STORE_UNAVAILABLE'
]

const { value: queuedValue } = jobStatusExamples.queued
const submittedExample = {
  summary: 'Accepted',
  value: {
    ...queuedValue,
    statusUrl: exampleOrigin + statusPath('v1', queuedValue.jobId),
    taskUrl: exampleOrigin + statusPath('task', queuedValue.jobId)
  }
}

const resultUrlName = '"resultUrl":'

// The body of an accepted job has absolute URLs only: low-code clients cannot complete a path. The first member of this
// name is the field; those behind it are in the error details of a worker.
const toSubmittedBody = ({ jobId, v1Body }: StatusEntry, baseUrl: string): string => {
  const at = v1Body.indexOf(resultUrlName) + resultUrlName.length
  const split = v1Body.startsWith('"/', at) ? at + 1 : 0
  const status = split === 0 ? v1Body : v1Body.slice(0, split) + baseUrl + v1Body.slice(split)
  const urls = { statusUrl: baseUrl + statusPath('v1', jobId), taskUrl: baseUrl + statusPath('task', jobId) }
  return `${status.slice(0, -1)},${JSON.stringify(urls).slice(1)}`
}

const inputExample = (type: string, input: object) => ({ summary: type, value: { type, input } })

const description = `The response is always 202: poll Location after Retry-After. A repeated request with the same
Idempotency-Key returns the same job. With \`wait\` the response is held until the job has ended, and shows its end.`

/** Accepts jobs. */
export const submitRoutes: FastifyPluginAsyncTypebox<SubmitRouteNeeds> = (app, needs) => {
  const { submitJob, publicUrl, retentionSecondsMax, callbacks } = needs
  // A function of its own: while the client waits, nothing holds the input.
  const submit = async (request: FastifyRequest, body: JobSubmission, key: string | null): Promise<Submitted> => {
    const principal = principalOf(request)
    requireAcceptable(body, principal, needs)
    const { subject, tenant, allTenants } = principal
    const { callbackUrl, callbackSecret, ...members } = body
    const callback = toCallback({ callbackUrl, callbackSecret }, callbacks)
    const submission = { ...members, inputJson: storableMemberText(body, 'input'), ...callback }
    const submitted = await submitJob({ subject, tenant, allTenants }, submission, key)
    const { jobId, replayed } = submitted
    request.log.info({ jobId, type: body.type, replayed }, 'submitted')
    return submitted
  }

  app.post('/api/v1/jobs', {
    config: { scope: 'jobs:write' },
    schema: {
      operationId: 'submitJob',
      summary: 'Submit a job',
      description,
      tags: ['Jobs'],
      querystring: Type.Object({ wait: waitParameter }),
      headers: idempotencyHeader,
      body: withExamples(createSubmissionSchema(retentionSecondsMax), {
        report: inputExample('report', { format: 'csv' }),
        sanitize: inputExample('sanitize', { content: '<b>hi</b>', contentType: 'text/html' })
      }),
      response: mayWait({
        202: jsonResponse('Accepted: the six fields of the status, and the URLs of both views.', SubmittedJob, {
          headers: acceptedHeaders, examples: { accepted: submittedExample }
        }),
        ...failureResponses(failureCodes, 'Problem')
      })
    }
  }, async (request, reply) => {
    const submitted = await submit(request, request.body, request.headers['idempotency-key'] ?? null)
    const entry = await awaitAccepted(needs, { request, reply, wait: request.query.wait }, submitted)
    const { replayed } = submitted
    const baseUrl = baseUrlOf(request, publicUrl)
    setAcceptedHeaders(reply, { entry, replayed, baseUrl })
    return reply.code(202).type('application/json; charset=utf-8').send(toSubmittedBody(entry, baseUrl))
  })
  return Promise.resolve()
}
