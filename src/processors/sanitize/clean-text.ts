import type { normalizations } from '../sanitize-processor.ts'

export type Normalization = typeof normalizations[number]

/**
 * What is counted. Of text: `control`, `bidi`, `invisible` in characters, `normalized` in texts (a JSON string, a run of
 * HTML text, an attribute value). Of HTML: `element`, `attribute`, `url`, `comment` (declarations too). Of JSON:
 * `duplicate` members.
 */
export type RemovedKind =
  'control' | 'bidi' | 'invisible' | 'normalized' | 'element' | 'attribute' | 'url' | 'comment' | 'duplicate'

export type Count = (kind: RemovedKind, times?: number) => void

// Everything below is for texts with one of these; most have none.
const suspicious =
  /[\p{Cc}--[\n\t]]|[\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\p{Surrogate}\u2028\u2029\uFFF9-\uFFFB]/v

const lineEnds = /\r\n?|[\u2028\u2029]/g

// Half of a character stands for data that was lost: it is shown as such, where a removal would join its neighbours.
const controls = /[[\p{Cc}\p{Noncharacter_Code_Point}\p{Surrogate}]--[\n\t]]/gv

// The marks (LRM, RLM, ALM) go with the overrides: they are as invisible, and split a word for every filter that follows.
const bidirectional = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/g

// Soft hyphen, zero-width space, word joiner, BOM, fillers, annotations: nothing a reader would miss, wherever they stand.
// The characters of the three expressions after it are left to them.
const alwaysInvisible =
  /[[\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB]--[\u200C\u200D\uFE00-\uFE0F\u180B-\u180F\u{E0000}-\u{E007F}\u{E0100}-\u{E01EF}]]/gv

// Of the tag sequences only the flags of England, Scotland and Wales are in general use; any other is a hidden message.
const britishFlag =
  '\\u{1F3F4}\\u{E0067}\\u{E0062}(?:\\u{E0065}\\u{E006E}\\u{E0067}|\\u{E0073}\\u{E0063}\\u{E0074}|\\u{E0077}\\u{E006C}\\u{E0073})\\u{E007F}'
const tags = new RegExp(`(${britishFlag})|[\\u{E0000}-\\u{E007F}]`, 'gv')

// Kept: one that makes a pictograph emoji or text, that of a keycap, and Mongolian letter forms. The ideographic ones go:
// 240 values on any ideograph carry a hidden byte each, and without them the common form of the same character is shown.
const keptSelectors = [
  '(?<=\\p{Extended_Pictographic})[\\uFE0E\\uFE0F]',
  '(?<=[0-9#*])\\uFE0F(?=\\u20E3)',
  '(?<=[\\p{Script=Mongolian}&&\\p{L}])[\\u180B-\\u180F]'
]
const selectors = new RegExp(`(${keptSelectors.join('|')})|[\\uFE00-\\uFE0F\\u180B-\\u180F\\u{E0100}-\\u{E01EF}]`, 'gv')

// Scripts whose spelling needs joiners: the cursive ones, and those of India and its neighbours.
const joiningScripts = [
  'Arabic', 'Syriac', 'Mandaic', 'Nko', 'Mongolian', 'Phags_Pa', 'Adlam', 'Hanifi_Rohingya', 'Manichaean', 'Sogdian',
  'Devanagari', 'Bengali', 'Gurmukhi', 'Gujarati', 'Oriya', 'Tamil', 'Telugu', 'Kannada', 'Malayalam', 'Sinhala',
  'Khmer', 'Myanmar', 'Tibetan', 'Balinese', 'Javanese', 'Sundanese', 'Meetei_Mayek', 'Chakma', 'Newa', 'Tirhuta', 'Grantha'
]
const letter = `[[${joiningScripts.map(script => `\\p{scx=${script}}`).join('')}]&&[\\p{L}\\p{M}]]`

// Kept: a joiner between pictographs, and one at a letter or a sign of such a script; a non-joiner only between two of
// them. A joiner next to a joiner means nothing in any script.
const keptJoiners = [
  '(?<=\\p{Extended_Pictographic}\\uFE0F?|\\p{Emoji_Modifier})\\u200D(?=\\p{Extended_Pictographic})',
  `(?<=${letter})\\u200D(?![\\u200C\\u200D])`,
  `(?<![\\u200C\\u200D])\\u200D(?=${letter})`,
  `(?<=${letter})\\u200C(?=${letter})`
]
const joiners = new RegExp(`(${keptJoiners.join('|')})|[\\u200C\\u200D]`, 'gv')

/**
 * The text without control characters (but tab and line feed), bidirectional controls and invisible characters, its line
 * ends as `\n`, in the normal form asked for.
 *
 * The order makes it idempotent: a compatibility form can unfold into a character that is removed, so the text is
 * normalized first; each later step looks at neighbours that no step after it removes; and a removal can bring a letter
 * and its accent together, so the text is normalized again.
 */
export const cleanText = (text: string, normalization: Normalization, count: Count): string => {
  const normalize = (text: string) => normalization === 'none' ? text : text.normalize(normalization)
  const normalized = normalize(text)
  if (!suspicious.test(normalized)) {
    if (normalized !== text) count('normalized')
    return normalized
  }
  const strip = (kind: RemovedKind) => (_match: string, kept?: string | number) => {
    if (typeof kept === 'string') return kept
    count(kind)
    return ''
  }
  const withLineEnds = normalized.replace(lineEnds, '\n')
  const stripped = withLineEnds
    .replace(controls, character => {
      count('control')
      return /\p{Surrogate}/v.test(character) ? '\uFFFD' : ''
    })
    .replace(bidirectional, strip('bidi'))
    .replace(alwaysInvisible, strip('invisible'))
    .replace(tags, strip('invisible'))
    .replace(selectors, strip('invisible'))
    .replace(joiners, strip('invisible'))
  const cleaned = normalize(stripped)
  if (withLineEnds !== text || cleaned !== stripped) count('normalized')
  return cleaned
}
