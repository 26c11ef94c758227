import type { ProgressReport, RawInput } from '../processor.ts'
import { assertHtmlSize, sanitize } from './sanitize.ts'
import { cleanNdjson } from './json/clean-ndjson.ts'
import { cleanTextStream } from './text/clean-text-stream.ts'
import { cleanText, type Count, createTally, type Removed } from './text/clean-text.ts'
import type { SanitizeRawInput } from '../../job/sanitize-input.ts'
import { decodeUtf8 } from './utf8.ts'

/** The sanitized text in pieces; `removed` is complete once the last piece has been read. */
export type SanitizedStream = { texts: AsyncIterable<string> | Iterable<string>, removed: () => Removed }

// A plain text counts as normalized once, however many of its pieces the normal form changes.
const countNormalizedOnce = (count: Count): Count => {
  let wasNormalized = false
  return (kind, times) => {
    if (kind === 'normalized' && wasNormalized) return
    wasNormalized ||= kind === 'normalized'
    count(kind, times)
  }
}

type Progress = (report: ProgressReport) => void

// A request for the next piece means that the one before has been sanitized.
async function * withProgress ({ sizeBytes, read }: RawInput, progress: Progress): AsyncGenerator<Uint8Array> {
  let done = 0
  progress({ stage: 'sanitizing', done, total: sizeBytes })
  for await (const bytes of read()) {
    yield bytes
    done += bytes.byteLength
    progress({ done, total: sizeBytes })
  }
}

/**
 * Does the same as `sanitize` for content that is too large for memory: text and NDJSON pass through in pieces,
 * NDJSON line by line as JSON. The counts are the same too: a plain text is `normalized` at most once.
 *
 * Throws ProcessorError INPUT_TOO_LARGE for HTML over 4 MiB, before reading any of it, and what `sanitize` throws.
 * `texts` throws INVALID_INPUT if the bytes are not UTF-8, INPUT_TOO_LARGE if a line of NDJSON or a stretch of text
 * that cannot be split is too long, TOO_MANY_MARKS, and for NDJSON what `sanitize` throws for JSON, with
 * `details.line`.
 */
export const sanitizeRaw = async (
  { contentType, options = {} }: SanitizeRawInput, rawInput: RawInput, progress: Progress
): Promise<SanitizedStream> => {
  const decoded = decodeUtf8(withProgress(rawInput, progress))
  if (contentType === 'text/html') {
    assertHtmlSize(rawInput.sizeBytes)
    const content = (await Array.fromAsync(decoded)).join('')
    const { sanitized, removed } = sanitize({ content, contentType, options })
    return { texts: [sanitized], removed: () => removed }
  }
  const { count, removed } = createTally()
  const toCleaner = (count: Count) => (text: string) => cleanText(text, options.normalization ?? 'NFC', count)
  const texts = contentType === 'text/plain'
    ? cleanTextStream(decoded, toCleaner(countNormalizedOnce(count)))
    : cleanNdjson(decoded, toCleaner(count), count)
  return { texts, removed }
}
