import type { Processor } from './processor.ts'
import { SanitizeInput } from './sanitize/input.ts'

const fileNames = { 'text/html': 'sanitized.html', 'text/plain': 'sanitized.txt', 'application/json': 'sanitized.json' }

const toMessage = (removed: Readonly<Record<string, number>>) => {
  const counts = Object.entries(removed).map(([kind, count]) => `${count} ${kind}`)
  return counts.length === 0 ? 'removed nothing' : `removed ${counts.join(', ')}`
}

// A copy of the whole text as bytes would stand beside the text until the last chunk is taken.
function * toBytes (text: string) {
  const encoder = new TextEncoder()
  const step = 65_536
  let start = 0
  while (start < text.length) {
    let end = Math.min(start + step, text.length)
    const last = text.charCodeAt(end - 1)
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end--
    yield encoder.encode(text.slice(start, end))
    start = end
  }
}

/** The sanitized content alone, in the submitted type; the counts are the last progress message. */
export const sanitizeProcessor: Processor = {
  type: 'sanitize',
  inputSchema: SanitizeInput,
  needsScopes: [],
  async run (input) {
    const { sanitize } = await import('./sanitize.ts')
    const { sanitized, contentType, removed } = sanitize(input as SanitizeInput)
    return {
      contentType: `${contentType}; charset=utf-8`,
      fileName: fileNames[contentType],
      message: toMessage(removed),
      body: toBytes(sanitized)
    }
  }
}
