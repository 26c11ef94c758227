import type { SanitizeInput, SanitizeRawInput } from '../../job/sanitize-input.ts'
import type { ProcessorContext, RunProcessor } from '../processor.ts'
import { sanitize } from './sanitize.ts'
import { sanitizeRaw } from './sanitize-raw.ts'
import { encodeUtf8 } from './utf8.ts'

const fileNames: Record<(SanitizeInput | SanitizeRawInput)['contentType'], string> = {
  'text/html': 'sanitized.html',
  'text/plain': 'sanitized.txt',
  'application/json': 'sanitized.json',
  'application/x-ndjson': 'sanitized.ndjson'
}

const toMessage = (removed: Readonly<Record<string, number>>) => {
  const counts = Object.entries(removed).map(([kind, count]) => `${count} ${kind}`)
  return counts.length === 0 ? 'removed nothing' : `removed ${counts.join(', ')}`
}

const runSanitize = async (input: SanitizeInput | SanitizeRawInput, { rawInput, progress }: ProcessorContext) => {
  if (rawInput !== null) return sanitizeRaw(input as SanitizeRawInput, rawInput, progress)
  const { sanitized, removed } = sanitize(input as SanitizeInput)
  return { texts: [sanitized], removed: () => removed }
}

async function * toBytes (texts: AsyncIterable<string> | Iterable<string>) {
  for await (const text of texts) yield * encodeUtf8(text)
}

/** The result is the content alone, in its type; the counts and the last progress message have what was removed. */
export const run: RunProcessor = async (input, context) => {
  const { contentType } = input as SanitizeInput | SanitizeRawInput
  const { texts, removed } = await runSanitize(input as SanitizeInput | SanitizeRawInput, context)
  return {
    contentType: `${contentType}; charset=utf-8`,
    fileName: fileNames[contentType],
    message: () => toMessage(removed()),
    counts: removed,
    body: toBytes(texts)
  }
}
