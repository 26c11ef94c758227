import { createHash } from 'node:crypto'
import type { ResultFacts } from '../job/job.ts'
import { findJsonFlaw } from '../job/json-flaw.ts'

/** The largest JSON result that travels in the status itself. */
const inlineBytesMax = 16 * 1024

/** What is told of a result, gathered while its bytes go by. */
export type ResultDigest = {
  size: () => number
  add: (bytes: Uint8Array) => void
  /** To be asked once, at the end. */
  facts: (contentType: string) => Pick<ResultFacts, 'sizeBytes' | 'sha256' | 'inlineJson'>
}

// What is not quite JSON in UTF-8 is no value that a status could hold: it is left to whoever fetches the bytes.
const toJsonText = (bytes: Uint8Array): string | null => {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    // Spliced into a status, what is nested too deeply would break its readers.
    return findJsonFlaw(JSON.parse(text)) === undefined ? text : null
  } catch {
    return null
  }
}

export const createResultDigest = (): ResultDigest => {
  const hash = createHash('sha256')
  let sizeBytes = 0
  // All of it, as long as it is small.
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
      if (sizeBytes <= inlineBytesMax) pieces.push(bytes)
      else pieces = []
    },
    facts: contentType => ({ sizeBytes, sha256: hash.digest('base64'), inlineJson: inlineJson(contentType) })
  }
}
