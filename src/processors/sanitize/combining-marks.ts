/** Combining marks in a row. Scripts stack fewer than ten; text that stacks them for show, about a hundred. */
export const marksMax = 256

// U+FF9E and U+FF9F become marks in a compatibility form. The lookbehind lets a row match from its first mark only.
const mark = '[\\p{M}\\uFF9E\\uFF9F]'
const manyMarks = new RegExp(`${mark}(?<!${mark}{2})${mark}{${marksMax}}`, 'v')

// A surrogate can be half of a mark.
const halfMark = /[\p{M}\uFF9E\uFF9F\p{Surrogate}]/v
const isHalfMark = Uint8Array.from({ length: 0x10000 }, (_, unit) => Number(halfMark.test(String.fromCharCode(unit))))

/** Whether more than `marksMax` marks are in a row. It checks each `marksMax`th unit: no such row fits between two. */
export const hasTooManyMarks = (text: string): boolean => {
  const isMark = (at: number) => isHalfMark[text.charCodeAt(at)] === 1
  for (let at = marksMax; at < text.length; at += marksMax) {
    if (!isMark(at)) continue
    let start = at
    while (start > 0 && isMark(start - 1)) start--
    while (at < text.length && isMark(at)) at++
    if (at - start > marksMax && manyMarks.test(text.slice(start, at))) return true
  }
  return false
}
