import fc from 'fast-check'
import { anyCodePoint } from '../../helpers/any-text.ts'

const alphabet = [
  'a', 'e', 'é', 'ﬁ', '™', 'ℂ', 'Å', '가', ' ', '\n', '\t', '\r', '\r\n', '\0', '\u0007', '\u0085', '\u2028', '\u2029',
  '\u0301', '\u0338', '\u0327', '\u200B', '\u200C', '\u200D', '\u00AD', '\u034F', '\uFEFF', '\u2060', '\u115F',
  '\u3164',
  '\uFFA0', '\u202E', '\u2066', '\u2069', '\u200F', '\u061C', '\uFE0E', '\uFE0F', '\uFE00', '\u{E0100}', '\u180B',
  '\u180E', 'ᠠ',
  '\uFFF9', '\uFFFE', '\uD83D', '\uDE00', '👩', '❤', '🔥', '👍🏽', '1', '#', '\u20E3', '🇩', '🏴', '\u{E0067}',
  '\u{E0062}',
  '\u{E0065}', '\u{E006E}', '\u{E007F}', '\u{E0001}', 'م', 'ی', 'خ', 'ك', '\u0653', 'क', '्', 'ष', 'മ', '്', '<', '>',
  '&', '"', "'", '=',
  '＜', '＆', '；', ';'
]

/** Text from the characters that are hardest to clean. */
export const hostileText = fc.array(fc.oneof(fc.constantFrom(...alphabet), fc.string({
  unit: anyCodePoint, maxLength: 3
})), { maxLength: 24 })
  .map(parts => parts.join(''))

const stacks = [
  '\u0301', '\u{E0067}', '\u0D4D\u200C', '\u0D4D', 'ന്\u200D', '\u200B', ' ', '\n', '漢', 'é', 'が', 'ŉ', 'x', '1', '<',
  '\u0D4D\u200C'.repeat(5), `\u0301\u{E0067}${'\u0D4D\u200C'.repeat(6)}\u0D4D`
]

/** Well-formed text whose accents are reordered again and again, among characters at which it can be split. */
export const stackedText = fc.array(fc.oneof(fc.constantFrom(...stacks), hostileText), { maxLength: 12 }).map(
  parts => parts.join('').toWellFormed()
)

const tags = [
  'p', 'div', 'b', 'i', 'a', 'ul', 'li', 'table', 'tbody', 'tr', 'td', 'th', 'dd', 'dt', 'h1', 'rt', 'ruby', 'pre',
  'br', 'img', 'hr', 'wbr', 'foo', 'script',
  'style', 'svg', 'math', 'title', 'option', 'select', 'textarea', 'xmp', 'noscript', 'iframe', 'form', 'button',
  'body', 'mi', 'bdo', 'details', 'ol', 'plaintext'
]
const attributes = [
  'href="javascript:alert(1)"', 'href=https://a.test/?a=1&amp;b=2', 'href="/x y"', 'href=//a.test', 'src=x',
  'src=data:image/png;base64,AA', 'onclick=alert(1)',
  'style=color:red', 'title="a\u200B&quot;>&lt;"', 'title=\'"\'', 'alt=""', 'title=""', 'target=_blank',
  'rel="opener nofollow"', 'open', 'open=1', 'width=10', 'width=x',
  'dir=rtl', 'id=x', 'href="&#x1;java\tscript:x"', 'cite="mailto:a@b.test"', 'title=e\u0301', 'title="＜"',
  '__proto__=x', 'constructor=y', '"=1', 'colspan=2'
]
const pieces = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...tags).map(tag => `<${tag}>`) },
  { weight: 4, arbitrary: fc.constantFrom(...tags).map(tag => `</${tag}>`) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom(...tags), fc.array(fc.constantFrom(...attributes), { maxLength: 4 }))
      .map(([tag, list]) => `<${tag} ${list.join(' ')}>`)
  },
  { weight: 2, arbitrary: hostileText },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '<!--', '-->', '<!-- x -->', '<![CDATA[', ']]>', '<?x?>', '<!doctype html>', '&lt;', '&amp;lt;', '&#0;', '&zwj;',
      '&#x202e;', '&amp', '&nosuch;', '<', '</', '<p', '"', "'", '/>', '<br/', '--!>', '<!', '<a href="'
    )
  }
)

/** HTML that no editor writes. */
export const hostileHtml = fc.array(pieces, { maxLength: 30 }).map(parts => parts.join(''))

/** JSON text whose names and strings are hostile. */
export const hostileJson = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small' }, hostileText, fc.double(), fc.bigInt(), fc.boolean(), fc.constant(null), tie('array'),
    tie('object')
  ),
  array: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.array(fc.tuple(hostileText, tie('value')), { maxLength: 4 }).map(members => new Map(members))
})).value.chain(value => fc.constantFrom('', ' ', '\n\t').map(space => write(value, space)))

// JSON.stringify can write neither big numbers nor equal names.
const write = (value: unknown, space: string): string => {
  if (value instanceof Map) {
    return `{${space}${[...value].map(([name, member]) => `${JSON.stringify(name)}${space}:${write(member, space)}`).join(`,${space}`)}}`
  }
  if (Array.isArray(value)) return `[${value.map(item => write(item, space)).join(`${space},`)}${space}]`
  if (typeof value === 'bigint') return String(value)
  return JSON.stringify(value)
}
