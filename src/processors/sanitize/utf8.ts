import { ProcessorError } from '../processor.ts'

const encodeStep = 65_536

const notUtf8 = () => new ProcessorError('INVALID_INPUT', 'The content is not UTF-8.')

/**
 * Decodes UTF-8 bytes piece by piece. A byte order mark stays in the text. Throws ProcessorError INVALID_INPUT if the
 * bytes are not UTF-8.
 */
export async function * decodeUtf8 (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const decode = (bytes: Uint8Array, stream: boolean) => {
    try {
      return decoder.decode(bytes, { stream })
    } catch {
      throw notUtf8()
    }
  }
  for await (const bytes of chunks) yield decode(bytes, true)
  yield decode(new Uint8Array(), false)
}

/** Encodes a text in small pieces, so that its bytes are never all in memory beside it. */
export function * encodeUtf8 (text: string): Generator<Uint8Array> {
  const encoder = new TextEncoder()
  let start = 0
  while (start < text.length) {
    let end = Math.min(start + encodeStep, text.length)
    const last = text.charCodeAt(end - 1)
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end--
    yield encoder.encode(text.slice(start, end))
    start = end
  }
}
