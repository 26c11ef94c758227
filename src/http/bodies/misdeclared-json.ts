import { ServiceFailure } from '../../errors.ts'

// Enough to recognize the beginning, whatever blanks are in it.
const beginningBytes = 256
const beginningExpression = /^\s*\{\s*"(?:content|contentType|options)"\s*:/

const beginsLikeSubmission = (chunks: Uint8Array[]): boolean =>
  beginningExpression.test(String(Buffer.concat(chunks).subarray(0, beginningBytes)))

const parse = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

const isSubmission = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'content' in value && typeof value.content === 'string' &&
  'contentType' in value && typeof value.contentType === 'string'

/**
 * The chunks of a body that was sent as text/plain. Throws UNSUPPORTED_MEDIA_TYPE if the whole of it, of at most
 * `bytesMax` bytes, is the JSON object of the route: fetch and its like declare JSON text as text/plain unless they are
 * given a type, and the object would be sanitized in place of its content.
 */
export const rejectMisdeclaredJson = async function * (
  chunks: AsyncIterable<Uint8Array>, bytesMax: number
): AsyncGenerator<Uint8Array, void, void> {
  let held: Uint8Array[] = []
  let heldBytes = 0
  let isPossible: boolean | undefined
  for await (const chunk of chunks) {
    if (isPossible === false) {
      yield chunk
      continue
    }
    // Copied, since the source may use its memory again.
    held.push(Buffer.from(chunk))
    heldBytes += chunk.byteLength
    if (heldBytes < beginningBytes) continue
    isPossible = (isPossible ?? beginsLikeSubmission(held)) && heldBytes <= bytesMax
    if (isPossible) continue
    yield * held
    held = []
  }
  if (isPossible !== false && isSubmission(parse(Buffer.concat(held)))) {
    const detail = 'The body is the JSON object of this route: send it with Content-Type: application/json.'
    throw new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', detail)
  }
  yield * held
}
