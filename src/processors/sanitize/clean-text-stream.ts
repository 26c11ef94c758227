import { ProcessorError } from '../processor.ts'
import { findCutBack } from './safe-split.ts'

/** What is held at once, in UTF-16 code units; `pieceLength` is at most `stretchMax`. */
export type TextBounds = {
  /** Pieces that are cleaned are of this length or longer, but for the last. */
  pieceLength: number
  /** The longest stretch without a place where it can be divided. */
  stretchMax: number
}

const usualBounds: TextBounds = { pieceLength: 64 * 1024, stretchMax: 1024 * 1024 }

const tooLong = (stretchMax: number) => new ProcessorError('INPUT_TOO_LARGE',
  `Text of which more than ${stretchMax} characters have no place to divide them (a blank, a line end, a Latin letter, an ideograph) is not sanitized.`)

/**
 * What `clean` makes of a text that comes in any pieces, piece by piece. `clean` is cleanText with any normal form: the
 * pieces come out as they would within the whole.
 *
 * Throws ProcessorError INPUT_TOO_LARGE for a stretch that is too long, wherever the pieces end that it comes in.
 */
export async function * cleanTextStream (
  texts: AsyncIterable<string>, clean: (text: string) => string, { pieceLength, stretchMax } = usualBounds
): AsyncGenerator<string> {
  let held = ''
  // A long stretch that comes in small pieces is not searched again with each of them.
  let searchedTo = 0
  for await (const text of texts) {
    held += text
    while (held.length > pieceLength) {
      const last = Math.min(held.length - 1, stretchMax)
      const cut = findCutBack(held, last, searchedTo)
      if (cut === searchedTo) {
        if (held.length > stretchMax) throw tooLong(stretchMax)
        searchedTo = last
        break
      }
      yield clean(held.slice(0, cut))
      held = held.slice(cut)
      searchedTo = 0
    }
  }
  if (held !== '') yield clean(held)
}
