import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { Uploads } from '../../../write/runs/uploads.ts'
import { anyBytes } from '../../openapi/content.ts'
import { failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { JobParams } from '../../openapi/params.ts'
import { exactly, parseContentRange, toContentInfo, toDeclaredType } from './upload-headers.ts'
import { leaseFailureCodes, leaseHeaders, withLease } from './with-lease.ts'
import type { StatusAccess } from '../../status-access.ts'
import { chunksOf, takeRawBodies } from '../../bodies/raw-body.ts'

export type UploadRouteNeeds = { statusAccess: StatusAccess, uploads: Uploads }

const Query = Type.Object({
  offset: Type.Optional(Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'The offset of these bytes in the result. Default: that of Content-Range, or 0.'
  }))
}, { additionalProperties: false })

const UploadResponse = Type.Object({
  offset: Type.Integer({ minimum: 0, description: 'The number of stored bytes, which is the offset of the next ones.' }),
  cancelRequested: Type.Boolean({ description: 'If true, stop and report a failure; the job is then cancelled.' })
}, { additionalProperties: false })

const storedExample = { summary: 'Stored', value: { offset: 4096, cancelRequested: false } }

const contentHeaders = {
  ...leaseHeaders,
  'content-disposition': Type.Optional(Type.String({
    description: 'The file name of the result: attachment; filename="…". Used at offset 0 only, like Content-Type.'
  })),
  'content-range': Type.Optional(Type.String({
    description: 'Which bytes of the result these are: bytes <first>-<last>/<total or *>. The body must have so many.'
  }))
}

const description =
  `The service stores the bytes as they arrive, and clients can read them at once with \`?partial=true\`.
Resume an interrupted upload at the offset that 409 OFFSET_MISMATCH returns.`

/** Accepts the bytes of results. */
export const uploadRoutes: FastifyPluginAsyncTypebox<UploadRouteNeeds> = (app, { statusAccess, uploads }) => {
  takeRawBodies(app, '*')
  app.addHook('onRequest', ({ raw: { headers } }, _reply, done) => {
    headers['content-type'] = toDeclaredType(headers['content-type'])
    done()
  })
  app.put('/api/v1/worker/jobs/:jobId/result', {
    config: { scope: 'jobs:work', isStreamed: true, takesContentRange: true },
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
        200: jsonResponse('Stored.', UploadResponse, { examples: { stored: storedExample } }),
        ...failureResponses([...leaseFailureCodes, 'OFFSET_MISMATCH'], 'Problem')
      }
    }
  }, request => withLease(statusAccess, request, async lease => {
    const { body, headers, query } = request as typeof request & { body: unknown }
    const { 'content-type': contentType = '', 'content-disposition': disposition = '' } = headers
    const content = toContentInfo(contentType, disposition)
    const { offset, length } = parseContentRange(headers, query.offset)
    const bytes = chunksOf(body instanceof Readable ? body : Readable.from([]))
    const { sizeBytes, cancelRequested } = await uploads.store(lease, offset, exactly(bytes, length), content)
    return { offset: sizeBytes, cancelRequested }
  }))
  return Promise.resolve()
}
