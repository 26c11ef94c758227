import { Readable } from 'node:stream'
import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type FailureCode, ServiceFailure } from '../errors.ts'
import type { ResultFacts } from '../job/job.ts'
import type { ReadResult } from '../status/read-result.ts'
import { matches, parseIfNoneMatch } from './conditional.ts'
import { conditionalHeaders, emptyAnswer, failures, jsonAnswer, statusHeaders } from './documented.ts'
import { principalOf, requireVisible, type Reveal, sendStatus, type ViewName } from './reveal.ts'

const maxAgeSeconds = 3600
// What a browser would run is handed over as a file, never shown in the service's own origin.
const passiveTypes = /^(text\/plain|text\/csv|application\/json|application\/x-ndjson)\b/

const setResultHeaders = (reply: FastifyReply, facts: ResultFacts, eTag: string) => {
  const fileName = facts.fileName.replace(/[^A-Za-z0-9._-]/g, '_')
  reply.headers({
    etag: eTag,
    'cache-control': `private, max-age=${maxAgeSeconds}, immutable`,
    vary: 'Authorization, Accept',
    'repr-digest': `sha-256=:${facts.sha256}:`,
    'content-disposition': `${passiveTypes.test(facts.contentType) ? 'inline' : 'attachment'}; filename="${fileName}"`,
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff'
  })
}

// Its first bytes first: what fails before them is a failure like any other, and has none of the result's headers.
const begin = async (chunks: AsyncGenerator<Uint8Array, void, void>): Promise<AsyncIterable<Uint8Array>> => {
  const first = await chunks.next()
  return (async function * () {
    if (first.done !== true) yield first.value
    yield * chunks
  })()
}

type ReadBytes = () => AsyncGenerator<Uint8Array, void, void>

const sendStored = async (request: FastifyRequest, reply: FastifyReply, facts: ResultFacts, read: ReadBytes) => {
  const eTag = `"${Buffer.from(facts.sha256, 'base64').toString('base64url')}"`
  const isKnown = matches(parseIfNoneMatch(request.headers['if-none-match']), eTag)
  const chunks = isKnown || request.method === 'HEAD' ? [] : await begin(read())
  setResultHeaders(reply, facts, eTag)
  if (isKnown) return reply.code(304).send()
  reply.code(200).type(facts.contentType).header('content-length', facts.sizeBytes)
  // A stream keeps the content-length as it is set, also one that is read for its headers alone.
  return reply.send(Readable.from(chunks, { objectMode: false }))
}

export type ResultRouteNeeds = { reveal: Reveal, readResult: ReadResult }

const createSendResult = ({ reveal, readResult }: ResultRouteNeeds) =>
  async (request: FastifyRequest, reply: FastifyReply, view: ViewName, id: string) => {
    const principal = principalOf(request)
    const revealed = await reveal(view, id, principal, undefined)
    const { state } = revealed.entry
    if (state === 'queued' || state === 'running') return sendStatus(reply, view, revealed, 202)
    if (state === 'failed') throw new ServiceFailure('JOB_FAILED', 'The job failed, so it has no result.', { jobStatus: 'Failed' })
    const result = await readResult(id)
    // Whatever happened since the first look, a record erased or made again by another, is met here.
    requireVisible(result.entry, principal)
    switch (result.kind) {
      case 'stored': return await sendStored(request, reply, result.facts, result.read)
      case 'external': return reply.code(303).header('location', result.url).header('cache-control', 'private, no-cache').send()
      case 'none': throw new ServiceFailure('NO_RESULT', 'The job succeeded without a result that could be fetched here.', { jobStatus: 'Succeeded' })
    }
  }

const bytesHeaders = {
  ETag: Type.String(),
  'Content-Disposition': Type.String(),
  'Content-Security-Policy': Type.String({ description: 'Nothing in the bytes is run.' }),
  'Repr-Digest': Type.String({ description: 'SHA-256 of the bytes (RFC 9530).' }),
  'Cache-Control': Type.String(),
  Vary: Type.String({ description: 'Authorization, Accept' }),
  'X-Content-Type-Options': Type.String({ description: 'nosniff' })
}

const bytesAnswer = {
  description: 'The bytes as stored.',
  headers: { ...bytesHeaders, 'Content-Length': Type.Integer() },
  content: { '*/*': { schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary' }) } }
}

const failureCodes: readonly FailureCode[] =
  ['UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'NO_RESULT', 'JOB_FAILED', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE']

const answers = (statusSchema: 'JobStatus' | 'TaskStatus') => ({
  200: bytesAnswer,
  202: jsonAnswer('Not finished: the status instead.', Type.Ref(statusSchema), { headers: statusHeaders }),
  303: emptyAnswer('The result is elsewhere.', { Location: Type.String({ format: 'uri' }), 'Cache-Control': Type.String() }),
  304: emptyAnswer('The client has these bytes already.', bytesHeaders)
})

/** Where the result is. */
export const resultRoutes: FastifyPluginAsyncTypebox<ResultRouteNeeds> = (app, needs) => {
  const sendResult = createSendResult(needs)

  app.get('/api/v1/jobs/:jobId/result', {
    config: { scope: 'jobs:read' },
    schema: {
      operationId: 'getJobResult',
      summary: 'The result of a finished job',
      tags: ['Jobs'],
      params: Type.Object({ jobId: Type.String() }),
      headers: conditionalHeaders,
      response: { ...answers('JobStatus'), ...failures(failureCodes, 'Problem') }
    }
  }, (request, reply) => sendResult(request, reply, 'v1', request.params.jobId))

  app.get('/api/jobs/:taskId/result', {
    config: { scope: 'jobs:read' },
    schema: {
      operationId: 'getTaskResult',
      summary: 'The result of a finished task',
      tags: ['Tasks'],
      params: Type.Object({ taskId: Type.String() }),
      headers: conditionalHeaders,
      response: { ...answers('TaskStatus'), ...failures([...failureCodes, 'INVALID_TASK_ID'], 'TaskError') }
    }
  }, (request, reply) => sendResult(request, reply, 'task', request.params.taskId))
  return Promise.resolve()
}
