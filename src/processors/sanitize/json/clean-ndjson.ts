import { ProcessorError } from '../../processor.ts'
import { cleanJson } from './clean-json.ts'
import type { Count } from '../text/clean-text.ts'

/** The longest line, in UTF-16 code units. */
const lineLengthMax = 4 * 1024 * 1024

const blank = /^[ \t\r]*$/

const cleanLine = (line: string, clean: (text: string) => string, count: Count): string => {
  // A byte order mark can be all of it: some programs write one even if they have no lines to write.
  const bare = line.startsWith('\uFEFF') ? line.slice(1) : line
  if (!blank.test(bare)) return cleanJson(line, clean, count)
  if (bare !== line) count('invisible')
  return bare
}

const withLine = (error: unknown, line: number): unknown => {
  if (!(error instanceof ProcessorError)) return error
  const { code, message } = error
  return new ProcessorError(code, message, { details: { line } })
}

/**
 * Cleans NDJSON that arrives in pieces of any size, each line as JSON. Blank lines and line feeds are kept.
 *
 * Throws ProcessorError INPUT_TOO_LARGE, INVALID_JSON, JSON_TOO_DEEP, JSON_TOO_WIDE or TOO_MANY_MARKS with
 * `details.line`, from 1.
 */
export async function * cleanNdjson (
  texts: AsyncIterable<string>, clean: (text: string) => string, count: Count, lengthMax = lineLengthMax
): AsyncGenerator<string> {
  let held = ''
  let line = 1
  const append = (part: string) => {
    held += part
    if (held.length <= lengthMax) return
    const message = `A line of more than ${lengthMax} characters is not sanitized.`
    throw new ProcessorError('INPUT_TOO_LARGE', message, { details: { line } })
  }
  const cleanHeld = (): string => {
    try {
      return cleanLine(held, clean, count)
    } catch (error) {
      throw withLine(error, line)
    }
  }
  for await (const text of texts) {
    let cleaned = ''
    let start = 0
    for (let feed = text.indexOf('\n'); feed !== -1; feed = text.indexOf('\n', start)) {
      append(text.slice(start, feed))
      cleaned += cleanHeld() + '\n'
      held = ''
      line++
      start = feed + 1
    }
    append(text.slice(start))
    yield cleaned
  }
  yield cleanHeld()
}
