import { ProcessorError } from '../../processor.ts'
import { findCut, findCutBack } from './safe-split.ts'
import type { Normalization } from '../../../job/sanitize-input.ts'
import { hasTooManyMarks, marksMax } from './combining-marks.ts'

/**
 * What is counted. In text: `control`, `bidi` and `invisible` characters, and `normalized` texts (a whole plain text,
 * a JSON string, a run of HTML text, an attribute value). In HTML: `element`, `attribute`, `url`, `comment`
 * (declarations included). In JSON: `duplicate` members.
 */
export type RemovedKind =
  'control' | 'bidi' | 'invisible' | 'normalized' | 'element' | 'attribute' | 'url' | 'comment' | 'duplicate'

export type Count = (kind: RemovedKind, times?: number) => void

/** How often each kind was found; kinds that were not found are absent. */
export type Removed = Partial<Record<RemovedKind, number>>

/** Counts what is removed; `removed` returns the counts so far, in the order of the names. */
export const createTally = (): { count: Count, removed: () => Removed } => {
  const counts = new Map<RemovedKind, number>()
  return {
    count: (kind, times = 1) => { counts.set(kind, (counts.get(kind) ?? 0) + times) },
    removed: () => Object.fromEntries([...counts].sort(([a], [b]) => a < b ? -1 : 1))
  }
}

// Only a text with one of these takes the slow path below; most texts have none.
const suspicious =
  /[\p{Cc}--[\n\t]]|[\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\p{Surrogate}\u2028\u2029\uFFF9-\uFFFB]/v

// Matches of the expressions below are replaced by nothing or by one character, never through a function: 100 MB of
// zero-width characters would become as many objects, and a heap that overflows in a thread ends the whole process.
// Each expression matches characters of one or of two code units, so that the loss of length gives their number.

const controls = /[[\p{Cc}\uFDD0-\uFDEF\uFFFE\uFFFF]--[\n\t]]/gv
const farControls = /[\p{Noncharacter_Code_Point}--[\uFDD0-\uFDEF\uFFFE\uFFFF]]/gv
const loneSurrogates = /\p{Surrogate}/gv

// The marks (LRM, RLM, ALM) are removed like the overrides: they are invisible too, and split a word for later
// filters.
const bidirectional = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/g

// Soft hyphen, zero-width space, word joiner, BOM, fillers, annotations: a reader misses none of them in any place.
const invisible =
  /[[\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB]--[\u200C\u200D\uFE00-\uFE0F\u180B-\u180F\u{10000}-\u{10FFFF}]]/gv

// They include the selectors of ideographic variants: with 240 of them each can carry a hidden byte, and without its
// selector an ideograph is shown in its common form.
const farInvisible = /[[\p{Default_Ignorable_Code_Point}&&[\u{10000}-\u{10FFFF}]]--[\u{E0000}-\u{E007F}]]/gv

const allBut = (kept: string[], characters: string) => new RegExp(`(?!${kept.join('|')})${characters}`, 'gv')

// Of the tag sequences only the flags of England, Scotland and Wales are in general use; others can hide a message.
const flags = ['gbeng', 'gbsct', 'gbwls'].map(name =>
  [...[...name].map(letter => `\\u{${(0xE0000 + letter.charCodeAt(0)).toString(16)}}`), '\\u{E007F}'])
const keptTags = flags.flatMap(
  tags => tags.map((_, at) => `(?<=\\u{1F3F4}${tags.slice(0, at).join('')})${tags.slice(at).join('')}`)
)
const toTags = () => allBut(keptTags, '[\\u{E0000}-\\u{E007F}]')

const toSelectors = () => allBut([
  '(?<=\\p{Extended_Pictographic})[\\uFE0E\\uFE0F]',
  '(?<=[0-9#*])\\uFE0F(?=\\u20E3)',
  '(?<=[\\p{Script=Mongolian}&&\\p{L}])[\\u180B-\\u180F]'
], '[\\uFE00-\\uFE0F\\u180B-\\u180F]')

// Scripts whose spelling needs joiners: cursive scripts, and those of India and its neighbours.
const joiningScripts = [
  'Arabic', 'Syriac', 'Mandaic', 'Nko', 'Mongolian', 'Phags_Pa', 'Adlam', 'Hanifi_Rohingya', 'Manichaean', 'Sogdian',
  'Devanagari', 'Bengali', 'Gurmukhi', 'Gujarati', 'Oriya', 'Tamil', 'Telugu', 'Kannada', 'Malayalam', 'Sinhala',
  'Khmer', 'Myanmar', 'Tibetan', 'Balinese', 'Javanese', 'Sundanese', 'Meetei_Mayek', 'Chakma', 'Newa', 'Tirhuta',
  'Grantha'
]
const letter = `[[${joiningScripts.map(script => `\\p{scx=${script}}`).join('')}]&&[\\p{L}\\p{M}]]`

// Kept are a joiner between pictographs, a joiner beside a letter or sign of such a script, and a non-joiner between
// two of them. A joiner beside another joiner has no meaning in any script.
const toJoiners = () => allBut([
  '(?<=\\p{Extended_Pictographic}\\uFE0F?|\\p{Emoji_Modifier})\\u200D(?=\\p{Extended_Pictographic})',
  `(?<=${letter})\\u200D(?![\\u200C\\u200D])`,
  `(?<![\\u200C\\u200D])\\u200D(?=${letter})`,
  `(?<=${letter})\\u200C(?=${letter})`
], '[\\u200C\\u200D]')

type Removal = [kind: RemovedKind, pattern: RegExp, unitsEach: number]

const toRemovals = (): readonly Removal[] => [
  ['control', controls, 1], ['control', farControls, 2], ['bidi', bidirectional, 1], ['invisible', invisible, 1],
  ['invisible', farInvisible, 2], ['invisible', toTags(), 2], ['invisible', toSelectors(), 1],
  ['invisible', toJoiners(), 1]
]

const removeEach = (removals: readonly Removal[], text: string, count: Count): string => {
  let rest = text
  for (const [kind, pattern, unitsEach] of removals) {
    const { length } = rest
    rest = rest.replace(pattern, '')
    if (rest.length < length) count(kind, (length - rest.length) / unitsEach)
  }
  return rest
}

// Made for the first text that needs them: their scripts take a thread as long as many of its modules.
let removals: readonly Removal[] | undefined

const removeAll = (text: string, count: Count): string => {
  removals ??= toRemovals()
  return removeEach(removals, text, count)
}

// A lone surrogate stands for data that was lost. It is shown as U+FFFD: removing it would join its neighbours.
const replaceLoneSurrogates = (text: string, count: Count): string => {
  if (text.isWellFormed()) return text
  count('control', text.length - text.replace(loneSurrogates, '').length)
  return text.toWellFormed()
}

// Vertical tab, form feed, NEL, LS and PS separate words like a line end: removing them would join their neighbours.
const unifyLineEnds = (text: string): string =>
  text.replace(/\r(?=\n)/g, '').replace(/[\r\v\f\u0085\u2028\u2029]/g, '\n')

const passesMax = 4
const conditional = /[\u200C\u200D\uFE00-\uFE0F\u180B-\u180F]/g
const lastResort: readonly Removal[] = [['invisible', conditional, 1]]

type Normalize = (text: string) => string

// A normal form sorts the marks of a letter in quadratic time: a megabyte of marks takes minutes, in which the thread
// cannot be ended. A removal can bring marks together, so every pass checks their number.
const normalize = (text: string, normalization: Normalization): string => {
  if (normalization === 'none') return text
  if (hasTooManyMarks(text)) {
    throw new ProcessorError(
      'TOO_MANY_MARKS', `Text with more than ${marksMax} combining marks in a row is not sanitized.`
    )
  }
  return text.normalize(normalization)
}

// A stretch that one more pass would change loses its joiners and selectors, until a pass changes nothing.
const stabilizeStretch = (stretch: string, toForm: Normalize, count: Count): string => {
  if (toForm(removeAll(stretch, () => {})) === stretch) return stretch
  let stable = stretch
  for (let before = ''; stable !== before;) {
    before = stable
    stable = toForm(removeEach(lastResort, before, count))
  }
  return stable
}

// Only unstable stretches lose characters, so that a text in pieces is cleaned as it is in one.
const stabilize = (text: string, toForm: Normalize, count: Count): string => {
  const pieces: string[] = []
  let copiedTo = 0
  for (;;) {
    conditional.lastIndex = copiedTo
    const found = conditional.exec(text)
    if (found === null) break
    const start = findCutBack(text, found.index, copiedTo)
    const end = findCut(text, found.index + 1)
    pieces.push(text.slice(copiedTo, start), stabilizeStretch(text.slice(start, end), toForm, count))
    copiedTo = end
  }
  return pieces.join('') + text.slice(copiedTo)
}

/**
 * The text in this normal form, without control characters (but tab and line feed), bidirectional controls and
 * invisible characters, and with `\n` at its line ends.
 *
 * The text is normalized first, because a compatibility form can decompose into a character that is removed. A
 * removal can bring accents to a letter, which changes their order and so the neighbour of a joiner: passes repeat
 * until nothing changes. One text in millions needs a third pass; a text made to need many loses its joiners instead.
 *
 * Throws ProcessorError TOO_MANY_MARKS.
 */
export const cleanText = (text: string, normalization: Normalization, count: Count): string => {
  const toForm: Normalize = text => normalize(text, normalization)
  const normalized = toForm(text)
  if (!suspicious.test(normalized)) {
    if (normalized !== text) count('normalized')
    return normalized
  }
  let cleaned = unifyLineEnds(normalized)
  let wasNormalized = cleaned !== text
  cleaned = replaceLoneSurrogates(cleaned, count)
  let before = ''
  for (let pass = 1; pass <= passesMax && cleaned !== before; pass++) {
    before = cleaned
    const stripped = removeAll(before, count)
    cleaned = toForm(stripped)
    wasNormalized ||= cleaned !== stripped
  }
  if (cleaned !== before) cleaned = stabilize(cleaned, toForm, count)
  if (wasNormalized) count('normalized')
  return cleaned
}
