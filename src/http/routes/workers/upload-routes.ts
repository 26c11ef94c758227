import { Readable } from 'node:stream'
import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { parse } from 'content-disposition'
import { shortenFileName } from '../../../job/file-name.ts'
import type { Uploads } from '../../../write/uploads.ts'
import { anyBytes } from '../../openapi/content.ts'
import { failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { JobParams } from '../../openapi/params.ts'
import { leaseFailureCodes, leaseHeaders, withLease } from './with-lease.ts'
import { brokenRule } from '../../problem.ts'
import type { StatusAccess } from '../../status-access.ts'
import { chunksOf, takeRawBodies } from '../../bodies/raw-body.ts'

const contentTypeLengthMax = 255

export type UploadRouteNeeds = { statusAccess: StatusAccess, uploads: Uploads }

const Query = Type.Object({
  offset: Type.Optional(Type.Integer({
    minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'The offset of these bytes in the result. Default: 0.'
  }))
}, { additionalProperties: false })

const UploadResponse = Type.Object({
  offset: Type.Integer({ minimum: 0, description: 'The number of stored bytes, which is the offset of the next ones.' }),
  cancelRequested: Type.Boolean({ description: 'If true, stop and report a failure; the job is then cancelled.' })
}, { additionalProperties: false })

const extensions: Record<string, string> = {
  'application/json': '.json',
  'application/x-ndjson': '.ndjson',
  'application/pdf': '.pdf',
  'application/zip': '.zip',
  'application/gzip': '.gz',
  'image/jpeg': '.jpg',
  'image/png': '.png',
  'text/csv': '.csv',
  'text/html': '.html',
  'text/plain': '.txt'
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

// Node decodes headers as Latin-1, but most clients send UTF-8.
const decodeHeader = (header: string): string => {
  try {
    return strictUtf8.decode(Buffer.from(header, 'latin1'))
  } catch {
    return header
  }
}

// Keeps only the last part of a path: a file name must not choose a folder on the client's disk.
const parseFileName = (header: string): string | undefined => {
  const name = shortenFileName(parse(decodeHeader(header)).parameters.filename?.split(/[/\\]/).at(-1) ?? '')
  return /^\.*$/.test(name) ? undefined : name
}

const toContentInfo = (contentType: string, disposition: string): { contentType: string, fileName: string } => {
  if (contentType.length > contentTypeLengthMax) {
    throw brokenRule('content-type', 'maxLength', `must have at most ${contentTypeLengthMax} characters`)
  }
  const mediaType = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  // The default of curl and many libraries for bytes without a declared type.
  if (mediaType === 'application/x-www-form-urlencoded') return toContentInfo('application/octet-stream', disposition)
  return { contentType, fileName: parseFileName(disposition) ?? `result${extensions[mediaType] ?? ''}` }
}

const contentHeaders = {
  ...leaseHeaders,
  'content-disposition': Type.Optional(Type.String({
    description: 'The file name of the result: attachment; filename="…". Used at offset 0 only, like Content-Type.'
  }))
}

const description =
  `The service stores the bytes as they arrive, and clients can read them at once with \`?partial=true\`.
Resume an interrupted upload at the offset that 409 OFFSET_MISMATCH returns.`

/** Accepts the bytes of results. */
export const uploadRoutes: FastifyPluginAsyncTypebox<UploadRouteNeeds> = (app, { statusAccess, uploads }) => {
  takeRawBodies(app, '*')
  app.put('/api/v1/worker/jobs/:jobId/result', {
    config: { scope: 'jobs:work', isStreamed: true },
    schema: {
      operationId: 'uploadResult',
      summary: 'Upload the result, in one or more requests',
      description,
      tags: ['Workers'],
      params: JobParams,
      querystring: Query,
      headers: Type.Object(contentHeaders),
      body: { content: anyBytes },
      response: {
        200: jsonResponse('Stored.', UploadResponse, { examples: { stored: { summary: 'Stored', value: { offset: 4096 } } } }),
        ...failureResponses([...leaseFailureCodes, 'OFFSET_MISMATCH'], 'Problem')
      }
    }
  }, request => withLease(statusAccess, request, async lease => {
    const { body, headers } = request as { body: unknown, headers: typeof request.headers }
    const { 'content-type': contentType = 'application/octet-stream', 'content-disposition': disposition = '' } =
      headers
    const contentInfo = toContentInfo(contentType, disposition)
    const chunks = chunksOf(body instanceof Readable ? body : Readable.from([]))
    const { sizeBytes, cancelRequested } = await uploads.store(lease, request.query.offset ?? 0, chunks, contentInfo)
    return { offset: sizeBytes, cancelRequested }
  }))
  return Promise.resolve()
}
