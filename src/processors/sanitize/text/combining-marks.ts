/** Combining marks in a row. Scripts stack fewer than ten; text that stacks them for show, about a hundred. */
export const marksMax = 256

// U+FF9E and U+FF9F become marks in a compatibility form. The lookbehind lets a row match from its first mark only.
const mark = '[\\p{M}\\uFF9E\\uFF9F]'
const manyMarks = new RegExp(`${mark}(?<!${mark}{2})${mark}{${marksMax}}`, 'v')

// A surrogate can be half of a mark.
const halfMark = /[\p{M}\uFF9E\uFF9F\p{Surrogate}]/v
// 0: not known yet. All of them at once would take a thread as long as everything else that it loads for a text.
const knownUnits = new Uint8Array(0x10000)
const isHalfMark = (unit: number): boolean => {
  if (knownUnits[unit] === 0) knownUnits[unit] = halfMark.test(String.fromCharCode(unit)) ? 1 : 2
  return knownUnits[unit] === 1
}

/** Whether more than `marksMax` marks are in a row. It checks each `marksMax`th unit: no such row fits between two. */
export const hasTooManyMarks = (text: string): boolean => {
  const isMark = (at: number) => isHalfMark(text.charCodeAt(at))
  for (let at = marksMax; at < text.length; at += marksMax) {
    if (!isMark(at)) continue
    let start = at
    while (start > 0 && isMark(start - 1)) start--
    while (at < text.length && isMark(at)) at++
    if (at - start > marksMax && manyMarks.test(text.slice(start, at))) return true
  }
  return false
}
