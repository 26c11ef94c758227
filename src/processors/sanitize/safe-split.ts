/*
 * Where a text can be divided so that cleaning the parts, each alone, gives what cleaning the whole gives.
 *
 * Behind a character of `closing`: it is never removed, no normal form changes it or joins anything to it, and no rule for
 * joiners, selectors or keycaps looks past it. Before a character of `opening`: it is never removed, joins nothing that
 * stands before it, and what it becomes when accents join it is one of these again, so that the place can be found in the
 * cleaned text too. The carriage return is in neither, as it and a line feed are one line end.
 *
 * < = > take an accent; digits, # and * a keycap; U+0149 comes apart into an apostrophe.
 */
const closing = /[\t\n !"$-)+-/:;?@[-`{-~\u3001\u3002\u3400-\u9FFF]/
const opening = /[0-9A-Za-z\u00C0-\u0148\u014A-\u024F\u1E00-\u1EFF\u3041-\u3096\u30A1-\u30FA\u3400-\u9FFF\uAC00-\uD7A3]/

const closes = 1
const opens = 2

// Millions of places are looked at in a long line, which is too many for an expression each.
const kinds = Uint8Array.from({ length: 0x10000 }, (_, unit) => {
  const character = String.fromCharCode(unit)
  return (closing.test(character) ? closes : 0) | (opening.test(character) ? opens : 0)
})

const isCut = (text: string, at: number): boolean =>
  (kinds[text.charCodeAt(at - 1)]! & closes) !== 0 || (at < text.length && (kinds[text.charCodeAt(at)]! & opens) !== 0)

/** The last place from `last` down to, but without, `after`, where the text can be divided; `after` if there is none. */
export const findCutBack = (text: string, last: number, after: number): number => {
  let at = last
  while (at > after && !isCut(text, at)) at--
  return at
}

/** The first place from `first` on where the text can be divided, its end at the latest. */
export const findCut = (text: string, first: number): number => {
  let at = first
  while (at < text.length && !isCut(text, at)) at++
  return at
}
