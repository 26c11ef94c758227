import type { ProgressReport, RawInput } from '../processor.ts'
import { refuseLargeHtml, sanitize } from './sanitize.ts'
import { cleanNdjson } from './clean-ndjson.ts'
import { cleanTextStream } from './clean-text-stream.ts'
import { cleanText, type Count, createTally, type Removed } from './clean-text.ts'
import type { SanitizeRawInput } from '../../job/sanitize-input.ts'
import { decodeUtf8 } from './utf8.ts'

/** The sanitized text in pieces; `removed` is complete once the last has been taken. */
export type SanitizedStream = { texts: AsyncIterable<string> | Iterable<string>, removed: () => Removed }

// The pieces of a plain text are one text, whichever of them the normal form changes.
const asOneText = (count: Count): Count => {
  let wasNormalized = false
  return (kind, times) => {
    if (kind === 'normalized' && wasNormalized) return
    wasNormalized ||= kind === 'normalized'
    count(kind, times)
  }
}

// Whoever asks for the next piece has dealt with the one before.
async function * withProgress ({ sizeBytes, read }: RawInput, progress: (report: ProgressReport) => void): AsyncGenerator<Uint8Array> {
  let done = 0
  progress({ stage: 'sanitizing', done, total: sizeBytes })
  for await (const bytes of read()) {
    yield bytes
    done += bytes.byteLength
    progress({ done, total: sizeBytes })
  }
}

/**
 * The same as `sanitize` of bytes too many to hold: text and NDJSON pass through in pieces. NDJSON is sanitized line by
 * line as JSON. `normalized` counts what it counts there, so that a plain text counts once.
 *
 * Throws ProcessorError INPUT_TOO_LARGE for HTML over 4 MiB before any of it is read, and what `sanitize` throws; `texts`
 * throws INVALID_INPUT where the bytes are not UTF-8, INPUT_TOO_LARGE where a line of NDJSON or a stretch of text that
 * cannot be divided is too long, TOO_MANY_MARKS, and for NDJSON what `sanitize` throws for JSON, with `details.line`.
 */
export const sanitizeRaw = async (
  { contentType, options = {} }: SanitizeRawInput, rawInput: RawInput, progress: (report: ProgressReport) => void
): Promise<SanitizedStream> => {
  const decoded = decodeUtf8(withProgress(rawInput, progress))
  if (contentType === 'text/html') {
    refuseLargeHtml(rawInput.sizeBytes)
    const { sanitized, removed } = sanitize({ content: (await Array.fromAsync(decoded)).join(''), contentType, options })
    return { texts: [sanitized], removed: () => removed }
  }
  const { count, removed } = createTally()
  const toCleaner = (count: Count) => (text: string) => cleanText(text, options.normalization ?? 'NFC', count)
  const texts = contentType === 'text/plain'
    ? cleanTextStream(decoded, toCleaner(asOneText(count)))
    : cleanNdjson(decoded, toCleaner(count), count)
  return { texts, removed }
}
