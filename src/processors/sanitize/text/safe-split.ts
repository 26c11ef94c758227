/*
 * Places where a text can be split so that cleaning the parts separately gives the same as cleaning the whole.
 *
 * A split is safe after a character of `closing`: cleaning never removes it, no normal form changes it or joins
 * another character to it, and no rule for joiners, selectors or keycaps reads past it. A split is safe before a
 * character of `opening`: cleaning never removes it, it never joins what is before it, and what it becomes together
 * with accents is in `opening` again, so that the place is found in the cleaned text too. The carriage return is in
 * neither class, because together with a line feed it is one line end.
 *
 * < = > take an accent; digits, # and * take a keycap; U+0149 decomposes into an apostrophe and a letter.
 */
const closing = /[\t\n !"$-)+-/:;?@[-`{-~\u3001\u3002\u3400-\u9FFF]/
const opening = /[0-9A-Za-z\u00C0-\u0148\u014A-\u024F\u1E00-\u1EFF\u3041-\u3096\u30A1-\u30FA\u3400-\u9FFF\uAC00-\uD7A3]/

const closes = 1
const opens = 2

// A long line has millions of places to check: a table costs far less than a regular expression for each. All of it at
// once would take a thread as long as many of its modules, so a unit that is not `known` yet is added when it is read.
const known = 4
const classes = new Uint8Array(0x10000)
const classOf = (unit: number): number => {
  if (classes[unit] === 0) {
    const character = String.fromCharCode(unit)
    classes[unit] = known | (closing.test(character) ? closes : 0) | (opening.test(character) ? opens : 0)
  }
  return classes[unit]!
}

const isCut = (text: string, at: number): boolean =>
  (classOf(text.charCodeAt(at - 1)) & closes) !== 0 ||
    (at < text.length && (classOf(text.charCodeAt(at)) & opens) !== 0)

/** The last place after `after` and up to `last` where the text can be split; `after` if there is none. */
export const findCutBack = (text: string, last: number, after: number): number => {
  let at = last
  while (at > after && !isCut(text, at)) at--
  return at
}

/** The first place from `first` on where the text can be split, at the latest its end. */
export const findCut = (text: string, first: number): number => {
  let at = first
  while (at < text.length && !isCut(text, at)) at++
  return at
}
