import { ProcessorError } from '../processor.ts'

const encodeStep = 65_536

const notUtf8 = () => new ProcessorError('INVALID_INPUT', 'The content is not UTF-8.')

/**
 * The text of UTF-8 bytes, piece by piece as they come; a byte order mark stays in it as a character. Throws
 * ProcessorError INVALID_INPUT where they are not UTF-8.
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

/** The bytes of a text in small pieces: all of them would stand beside the text until the last is taken. */
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
