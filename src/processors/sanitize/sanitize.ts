import { ProcessorError } from '../processor.ts'
import { cleanHtml } from './html/clean-html.ts'
import { cleanJson } from './json/clean-json.ts'
import { cleanText, createTally, type Removed } from './text/clean-text.ts'
import type { SanitizeInput } from '../../job/sanitize-input.ts'

/** Bytes of HTML, as UTF-8. A parse tree takes many times the memory of its text, and it cannot be built in pieces. */
const htmlBytesMax = 4 * 1024 * 1024

/** Throws ProcessorError INPUT_TOO_LARGE. */
export const assertHtmlSize = (sizeBytes: number): void => {
  if (sizeBytes <= htmlBytesMax) return
  throw new ProcessorError('INPUT_TOO_LARGE', `HTML of more than ${htmlBytesMax} bytes is not sanitized.`)
}

/** `removed` has only the kinds that were found; it is empty if the content was clean. */
export type Sanitized = {
  sanitized: string
  contentType: SanitizeInput['contentType']
  removed: Removed
}

/**
 * Removes from a content what could run, hide or mislead. Sanitizing the result again changes nothing.
 *
 * Throws ProcessorError, never retryable: INPUT_TOO_LARGE (HTML over 4 MiB), HTML_TOO_DEEP, INVALID_JSON,
 * JSON_TOO_DEEP, JSON_TOO_WIDE, TOO_MANY_MARKS.
 */
export const sanitize = ({ content, contentType, options = {} }: SanitizeInput): Sanitized => {
  const { count, removed } = createTally()
  const normalization = options.normalization ?? 'NFC'
  const clean = (text: string) => cleanText(text, normalization, count)
  let sanitized: string
  if (contentType === 'text/html') {
    assertHtmlSize(Buffer.byteLength(content))
    sanitized = cleanHtml(content, normalization, count)
  } else {
    sanitized = contentType === 'application/json' ? cleanJson(content, clean, count) : clean(content)
  }
  return { sanitized, contentType, removed: removed() }
}
