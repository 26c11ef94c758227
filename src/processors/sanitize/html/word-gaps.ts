import { separatingKeptTags, separatingTags, tagsWithoutText } from './html-policy.ts'

/** The three callbacks of sanitize-html that keep words apart. They serve one pass over one document. */
export type WordGaps = {
  onOpenTag: (tag: string) => void
  onCloseTag: (tag: string) => void
  textFilter: (escapedText: string) => string
}

/**
 * Puts a blank where the removal of an element would join two words that a browser shows apart. A kept element that
 * separates them already needs none, unless `keepsTags` is false.
 */
export const createWordGaps = (keepsTags = true): WordGaps => {
  let isApart = true
  let isGapNeeded = false
  // The depth inside elements that are removed with their content: what is in there separates nothing.
  let removedDepth = 0
  const passTag = (tag: string) => {
    const isKept = keepsTags && separatingKeptTags.has(tag)
    if (isKept && removedDepth === 0) isApart = true
    else if (separatingTags.has(tag) || (!keepsTags && separatingKeptTags.has(tag))) isGapNeeded = true
  }
  return {
    onOpenTag: tag => {
      passTag(tag)
      if (tagsWithoutText.includes(tag)) removedDepth++
    },
    onCloseTag: tag => {
      if (tagsWithoutText.includes(tag)) removedDepth--
      passTag(tag)
    },
    textFilter: text => {
      if (text === '') return text
      const separated = isGapNeeded && !isApart && !/^[ \t\n\f\r]/.test(text) ? ` ${text}` : text
      isGapNeeded = false
      isApart = /[ \t\n\f\r]$/.test(text)
      return separated
    }
  }
}
