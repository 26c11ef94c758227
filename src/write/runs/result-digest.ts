import { createHash } from 'node:crypto'
import type { ResultFacts } from '../../job/job.ts'
import { findJsonFlaw, jsonDepthMax } from '../../job/json/flaw.ts'
import { jsonTextDepth } from '../../job/json/text.ts'

/** The largest JSON result that travels in the status itself. */
const inlineBytesMax = 16 * 1024

/** Computes the facts of a result while its bytes pass. */
export type ResultDigest = {
  size: () => number
  add: (bytes: Uint8Array) => void
  facts: (contentType: string) => Pick<ResultFacts, 'sizeBytes' | 'sha256' | 'inlineJson'>
}

// A status can hold valid JSON in UTF-8 only; anything else stays in the bytes that clients fetch.
const toJsonText = (bytes: Uint8Array): string | null => {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    // It becomes part of a status, where deeply nested JSON would break the reader.
    const isSound = findJsonFlaw(JSON.parse(text)) === undefined && jsonTextDepth(text) <= jsonDepthMax
    return isSound ? text : null
  } catch {
    return null
  }
}

export const createResultDigest = (): ResultDigest => {
  const hash = createHash('sha256')
  let sizeBytes = 0
  // The whole result while it is small enough for a status, else empty.
  let pieces: Uint8Array[] = []
  const inlineJson = (contentType: string): string | null =>
    sizeBytes === 0 || sizeBytes > inlineBytesMax || !/^application\/json\b/i.test(contentType)
      ? null
      : toJsonText(Buffer.concat(pieces))
  return {
    size: () => sizeBytes,
    add: bytes => {
      hash.update(bytes)
      sizeBytes += bytes.byteLength
      if (sizeBytes <= inlineBytesMax) pieces.push(Buffer.from(bytes))
      else pieces = []
    },
    facts: contentType => ({ sizeBytes, sha256: hash.copy().digest('base64'), inlineJson: inlineJson(contentType) })
  }
}
