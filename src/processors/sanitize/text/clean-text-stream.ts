import { ProcessorError } from '../../processor.ts'
import { findCutBack } from './safe-split.ts'

/** How much text is in memory at once, in UTF-16 code units; `pieceLength` is at most `stretchMax`. */
export type TextBounds = {
  /** So much text is gathered before a piece of it is cleaned. */
  pieceLength: number
  /** The longest stretch without a place where it can be split. */
  stretchMax: number
}

const usualBounds: TextBounds = { pieceLength: 64 * 1024, stretchMax: 1024 * 1024 }

const tooLong = (stretchMax: number) => new ProcessorError('INPUT_TOO_LARGE',
  `Text with more than ${stretchMax} characters and no place to split them ` +
  '(a blank, a line end, a Latin letter, an ideograph) is not sanitized.')

/**
 * Cleans a text that arrives in pieces of any size. `clean` is cleanText with any normal form: the result is the same
 * as for the whole text.
 *
 * Throws ProcessorError INPUT_TOO_LARGE for a stretch that is too long, whatever the sizes of the pieces.
 */
export async function * cleanTextStream (
  texts: AsyncIterable<string>, clean: (text: string) => string, { pieceLength, stretchMax } = usualBounds
): AsyncGenerator<string> {
  let held = ''
  // A long stretch that arrives in small pieces is not searched again with each of them.
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
