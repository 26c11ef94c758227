import type { FailureCode } from '../../../errors.ts'

/*
 * What the two ways to sanitize a content, at once and as a job, have in common.
 */

export const sanitizeAsyncPath = '/api/sanitize/async'

// Parsing JSON blocks the event loop. Larger contents are sent as raw bytes, which this process does not parse.
export const jsonBytesMax = 4 * 1024 * 1024

export const sanitizeExamples = {
  html: { summary: 'HTML', value: { content: '<b onclick="x()">hi</b><script></script>', contentType: 'text/html' } },
  text: { summary: 'Plain text', value: { content: 'zero\u200bwidth', contentType: 'text/plain' } },
  json: {
    summary: 'The strings of a JSON document',
    value: { content: '{"a":"x\u200by"}', contentType: 'application/json', options: { normalization: 'NFKC' } }
  }
}

export const sanitizeCodes: readonly FailureCode[] =
  ['VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL']
