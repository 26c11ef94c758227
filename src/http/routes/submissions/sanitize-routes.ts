import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { ServiceFailure } from '../../../errors.ts'
import { SanitizeInput } from '../../../job/sanitize-input.ts'
import { withExamples } from '../../openapi/content.ts'
import { failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { acceptedHeaders } from './accepted-response.ts'
import { jsonBytesMax, sanitizeAsyncPath, sanitizeCodes, sanitizeExamples } from './sanitize-common.ts'

export type SanitizeRouteNeeds = {
  /** Throws VALIDATION_FAILED if the content cannot be sanitized, and OVERLOADED. */
  sanitizeNow: (
    content: SanitizeInput, signal: AbortSignal
  ) => Promise<{ sanitized: string, contentType: string, removed: Partial<Record<string, number>> }>
}

const contentBytesMax = 1024 * 1024

const SanitizedResponse = Type.Object({
  success: Type.Literal(true),
  data: Type.Object({
    sanitized: Type.String(),
    contentType: Type.String(),
    removed: Type.Record(Type.String(), Type.Integer({ minimum: 1 }), {
      description: 'Counts of what was removed, by kind; kinds with count 0 are absent.'
    })
  })
}, { additionalProperties: false })

const SanitizeBody = withExamples(SanitizeInput, sanitizeExamples)

const sanitizedExample = {
  summary: 'HTML',
  value: {
    success: true, data: { sanitized: '<b>hi</b>', contentType: 'text/html', removed: { attribute: 1, element: 1 } }
  }
}

const tooLarge = `The content exceeds the limit of this route: send it to ${sanitizeAsyncPath}.`

// By the content and not by its JSON, where each quote and line end counts twice, and an escaped character up to six
// times.
const requireSmallContent = (content: string): void => {
  if (Buffer.byteLength(content) > contentBytesMax) throw new ServiceFailure('PAYLOAD_TOO_LARGE', tooLarge)
}

/** Sanitizes a content at once. */
export const sanitizeRoutes: FastifyPluginAsyncTypebox<SanitizeRouteNeeds> = (app, { sanitizeNow }) => {
  app.post('/api/sanitize', {
    config: {
      scope: 'jobs:write',
      writesNothing: true,
      tooLarge
    },
    bodyLimit: jsonBytesMax,
    schema: {
      operationId: 'sanitize',
      summary: 'Sanitize a content at once',
      description: `For contents of up to 1 MiB, in JSON of up to 4 MiB; send larger ones to ${sanitizeAsyncPath}. The response format never changes.`,
      tags: ['Sanitize'],
      body: SanitizeBody,
      response: {
        200: jsonResponse('The sanitized content, and counts of what was removed.', SanitizedResponse, {
          headers: { 'Cache-Control': acceptedHeaders['Cache-Control'] }, examples: { sanitized: sanitizedExample }
        }),
        ...failureResponses([...sanitizeCodes, 'OVERLOADED'], 'TaskError')
      }
    }
  }, async (request, reply) => {
    requireSmallContent(request.body.content)
    const disconnected = new AbortController()
    reply.raw.once('close', () => { disconnected.abort() })
    const { sanitized, contentType, removed } = await sanitizeNow(request.body, disconnected.signal)
    return reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
      .send(JSON.stringify({ success: true, data: { sanitized, contentType, removed } }))
  })
  return Promise.resolve()
}
