import { createRequire } from 'node:module'
import type * as htmlparser2 from 'htmlparser2'
import sanitizeHtml from 'sanitize-html'
import { ProcessorError } from '../../processor.ts'
import { cleanText, type Count } from '../text/clean-text.ts'
import {
  allowedAttributes, allowedSchemes, allowedTags, findAttributeRule, flagAttributes, imageSchemes, tagsWithoutText,
  toRel,
  urlAttributes, voidTags
} from './html-policy.ts'
import type { Normalization } from '../../../job/sanitize-input.ts'
import { createWordGaps } from './word-gaps.ts'

// As sanitize-html loads it: an import would load the other build of the package, too.
const { Parser } = createRequire(import.meta.url)('htmlparser2') as typeof htmlparser2

/** Nested elements, as many as browsers keep. The parser's work grows with size times depth. */
const htmlDepthMax = 512

/** Characters of a URL. Browsers and servers take no longer ones, and the check takes more than linear time. */
const urlLengthMax = 8192

const allowed = new Set(allowedTags)

// Browsers skip control characters and spaces within a scheme, and sanitize-html skips comments.
const isForbiddenUrl = (tag: string, url: string): boolean => {
  if (url.length > urlLengthMax || url.includes('<!--')) return true
  const bare = url.replace(/[\u0000-\u0020]/g, '')
  const scheme = /^([a-z][a-z0-9.+-]*):/i.exec(bare)?.[1]?.toLowerCase()
  if (scheme === undefined) return /^[/\\]{2}/.test(bare) || /^[^/?#]*:/.test(bare)
  return !(tag === 'img' ? imageSchemes : allowedSchemes).includes(scheme)
}

const keepAttributes = (tag: string, given: Record<string, string>, normalization: Normalization, count: Count) => {
  const kept: Record<string, string> = {}
  for (const [name, raw] of Object.entries(given)) {
    const rule = findAttributeRule(tag, name)
    if (rule === undefined) {
      count('attribute')
      continue
    }
    const isUrl = urlAttributes.has(name)
    // A URL is not normalized: it would name another resource.
    const value = isUrl ? cleanText(raw, 'none', count).trim() : cleanText(raw, normalization, count)
    if (!rule.test(value)) {
      count('attribute')
    } else if (isUrl && isForbiddenUrl(tag, value)) {
      count('url')
    } else {
      kept[name] = flagAttributes.has(name) ? '' : value
    }
  }
  if (tag === 'a' && (kept.rel !== undefined || kept.target !== undefined)) {
    const { rel, lostSome } = toRel(kept.rel ?? '', kept.target !== undefined)
    if (lostSome) count('attribute')
    if (rel === '') delete kept.rel
    else kept.rel = rel
  }
  return kept
}

const sanitizeMarkup = (html: string, normalization: Normalization, count: Count): string => {
  let depth = 0
  const gaps = createWordGaps()
  return sanitizeHtml(html, {
    allowedTags,
    allowedAttributes,
    allowedSchemes,
    allowedSchemesByTag: { img: imageSchemes },
    allowProtocolRelative: false,
    nonTextTags: tagsWithoutText,
    selfClosing: voidTags,
    parseStyleAttributes: false,
    textFilter: gaps.textFilter,
    onOpenTag: tag => {
      gaps.onOpenTag(tag)
      if (++depth > htmlDepthMax) {
        throw new ProcessorError('HTML_TOO_DEEP', `HTML of more than ${htmlDepthMax} levels is not sanitized.`)
      }
    },
    onCloseTag: tag => {
      gaps.onCloseTag(tag)
      depth--
    },
    transformTags: {
      '*': (tagName, attribs) => {
        if (allowed.has(tagName)) return { tagName, attribs: keepAttributes(tagName, attribs, normalization, count) }
        count('element')
        return { tagName, attribs: {} }
      }
    }
  })
}

// sanitize-html removes comments without reporting them.
const countComments = (html: string, count: Count) => {
  if (!/<[!?]|<\/[^a-z]/i.test(html)) return
  const parser = new Parser({
    oncomment: () => count('comment'),
    onprocessinginstruction: () => count('comment')
  })
  parser.end(html)
}

const unescapeText = (text: string) => text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
const escapeText = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

// In the output of sanitize-html, < and > occur in tags only. Its own text filter cannot do this: it gets a text in
// pieces, cut at every reference (`&zwj;`), and escaped, where a normal form could produce the very characters that
// were escaped.
const cleanTexts = (html: string, normalization: Normalization, count: Count): string =>
  html.replace(/(?<=^|>)[^<>]+/g, escaped => {
    const text = unescapeText(escaped)
    const cleaned = cleanText(text, normalization, count)
    return cleaned === text ? escaped : escapeText(cleaned)
  })

/**
 * Reduces HTML to what the policy allows and cleans its texts and attributes. Throws ProcessorError HTML_TOO_DEEP or
 * TOO_MANY_MARKS.
 *
 * A removed element can leave others nested in a way that no parser produces, so passes repeat until nothing changes:
 * every parser then reads the result as this one does. The second pass has nothing left to remove and writes the tree
 * as it reads it, so the third changes nothing. If a newer parser breaks that, the result is the text without markup.
 */
export const cleanHtml = (html: string, normalization: Normalization, count: Count, passesMax = 4): string => {
  let before = html
  for (let pass = 0; pass < passesMax; pass++) {
    const cleaned = cleanTexts(sanitizeMarkup(before, normalization, count), normalization, count)
    countComments(before, count)
    if (cleaned === before) return cleaned
    before = cleaned
  }
  const text = sanitizeHtml(before, {
    allowedTags: [], allowedAttributes: {}, nonTextTags: tagsWithoutText, ...createWordGaps(false)
  })
  return cleanTexts(text, normalization, count)
}
