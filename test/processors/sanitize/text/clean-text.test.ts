import fc from 'fast-check'
import t, { type Test } from 'tap'
import { sanitize } from '../../../../src/processors/sanitize/sanitize.ts'
import { hostileJson, hostileText } from '../hostile.ts'

type ContentType = 'text/plain' | 'application/json'
type Options = { normalization?: 'NFC' | 'NFKC' | 'none' }

// In a test's name the reporter would interpret line separators and control characters.
const toName = (content: string) => JSON.stringify(content).replace(
  /[^ -~]/g, unit => `\\u${unit.charCodeAt(0).toString(16)}`
)

const becomes = (
  t: Test, contentType: ContentType, content: string, expected: string, removed: Record<string, number> = {},
  options: Options = {}
) => {
  const { contentType: type, ...got } = sanitize({ content, contentType, options })
  t.strictSame(got, { sanitized: expected, removed }, toName(content))
  t.equal(type, contentType)
}
const text = (t: Test, ...rest: [
  string, string, Record<string, number>?, Options?
]) => becomes(t, 'text/plain', ...rest)
const json = (t: Test, ...rest: [
  string, string, Record<string, number>?, Options?
]) => becomes(t, 'application/json', ...rest)

const isStable = (content: string, contentType: ContentType, options: Options) => {
  const first = sanitize({ content, contentType, options })
  const second = sanitize({ content: first.sanitized, contentType, options })
  const saysWhetherChanged = (first.sanitized === content) === (Object.keys(first.removed).length === 0)
  return second.sanitized === first.sanitized && Object.keys(second.removed).length === 0 && saysWhetherChanged &&
    first.sanitized.isWellFormed()
}

t.test('cleaning a second time changes nothing, and every change is counted', async t => {
  for (const normalization of ['NFC', 'NFKC', 'none'] as const) {
    t.doesNotThrow(() => fc.assert(
      fc.property(hostileText, content => isStable(content, 'text/plain', { normalization })), { numRuns: 2000 }
    ))
    t.doesNotThrow(() => fc.assert(
      fc.property(hostileJson, content => isStable(content, 'application/json', { normalization })), { numRuns: 1000 }
    ))
  }
})

t.test('text: removes and counts control, bidirectional and invisible characters', async t => {
  text(t, 'a\0b\u0007c\u001B[31m\u007F\u009F\tx\ny', 'abc[31m\tx\ny', { control: 5 })
  text(t, 'a\r\nb\rc\u2028d\u2029e', 'a\nb\nc\nd\ne', { normalized: 1 })
  text(t, 'a\vb\fc\u0085d', 'a\nb\nc\nd', { normalized: 1 })
  text(t, 'if (\u202Eadmin\u202C) \u2066x\u2069 \u200E\u200F\u061C', 'if (admin) x ', { bidi: 7 })
  text(t, 'f\u00ADr\u200Be\u2060e\uFEFF \u034F\u115F\u1160\u3164\uFFA0\u17B4\u2064\u206A', 'free ', { invisible: 12 })
  text(t, 'a\uFFF9b\uFFFAc\uFFFBd', 'abcd', { invisible: 3 })
  text(t, 'a\uD83Db\uDE00c', 'a\uFFFDb\uFFFDc', { control: 2 })
  text(t, 'a\uFFFE\u{1FFFF}\uFDD0b', 'ab', { control: 3 })
  text(t, `a${[...'hidden'].map(letter => String.fromCodePoint(0xE0000 + letter.charCodeAt(0))).join('')}`, 'a', {
    invisible: 6
  })
  text(t, 'a\uFE0F1\uFE0F漢\u{E0100}漢\uFE00😀\uFE0F\uFE0F\uFE01', 'a1漢漢😀\uFE0F', { invisible: 6 })
  text(t, 'a\u200Db\u200Cc \u200D', 'abc ', { invisible: 3 })
})

t.test('text: characters with a meaning stay', async t => {
  const meaningful = [
    '', 'a b\tc\nd', '👩\u200D👩\u200D👧', '👩🏽\u200D🚀', '❤\uFE0F\u200D🔥', '🏳\uFE0F\u200D🌈', '🏴\u200D☠\uFE0F',
    '☎\uFE0E', '1\uFE0F\u20E3', '#\uFE0F\u20E3', '🇩🇪',
    '🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}',
    '🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}',
    '🏴\u{E0067}\u{E0062}\u{E0077}\u{E006C}\u{E0073}\u{E007F}',
    'می\u200Cخواهم', 'ه\u200D', 'क्\u200Dष', 'क्\u200Cष', 'ന്\u200D', 'ශ්\u200Dරී', 'ᠠ\u180B', 'שלום', '漢字', '\u0600',
    '\u2800', 'é', 'ﬁ'
  ]
  for (const content of meaningful) text(t, content, content)
  text(t, '🏴\u{E0075}\u{E0073}\u{E0074}\u{E0078}\u{E007F}', '🏴', { invisible: 5 })
})

t.test('text: normalizes to the requested form', async t => {
  text(t, 'e\u0301', 'é', { normalized: 1 })
  text(t, 'e\u200D\u0301', 'é', { invisible: 1, normalized: 1 })
  text(t, 'ﬁ™', 'fiTM', { normalized: 1 }, { normalization: 'NFKC' })
  text(t, '™\uFE0F', 'TM', { invisible: 1, normalized: 1 }, { normalization: 'NFKC' })
  text(t, 'e\u0301\r\n', 'e\u0301\n', { normalized: 1 }, { normalization: 'none' })
})

t.test('text: accents that are reordered leave no joiner without its neighbour', async t => {
  text(t, '\u0301\u{E0067}\u0D4D\u200C\u0D4D', '\u0D4D\u0D4D\u0301', { invisible: 2, normalized: 1 })
  const chain = `\u0301\u{E0067}${'\u0D4D\u200C'.repeat(20)}\u0D4D`
  text(t, chain, `${'\u0D4D'.repeat(21)}\u0301`, { invisible: 21, normalized: 1 })
})

t.test('json: strings and names are cleaned, everything else stays as it is written', async t => {
  json(
    t, ' { "n" : [12345678901234567890, 1.0, -0.0, 1e400, 1E+2],\n"t":true,"f" :false, "z":null } ',
    ' { "n" : [12345678901234567890, 1.0, -0.0, 1e400, 1E+2],\n"t":true,"f" :false, "z":null } '
  )
  json(t, '{"a\u200Bb":"x\\u202ey","\\u00e9\\n":"\\/"}', '{"ab":"xy","\\u00e9\\n":"\\/"}', { bidi: 1, invisible: 1 })
  json(t, '"\\u0000\\ud800"', '"\uFFFD"', { control: 2 })
  json(t, '["e\u0301", "e\u0301"]', '["é", "é"]', { normalized: 2 })
  json(t, '\uFEFF[]', '[]', { invisible: 1 })
  for (const content of [
    '0', '-1.5e-7', '""', '"\\\\"', '"\\\\\\""', 'null', '[]', '{}', '[[],{}]', '{"a":{}}', ' [ ] ', '[{"a":[]},[1]]'
  ]) json(t, content, content)
})

t.test('json: the first of equal names is kept', async t => {
  json(t, '{"role":"user","ro\u200Ble":"admin","x":1}', '{"role":"user","x":1}', { duplicate: 1, invisible: 1 })
  json(t, '{"a\u200B":{"b\u200B":["x\\u0000"]},"c":1 , "a":{"y":["z\\u0000",2]} }', '{"a":{"b":["x"]},"c":1 }', {
    control: 2, duplicate: 1, invisible: 2
  })
  json(t, '{"a":1,"a":2,"a":3}', '{"a":1}', { duplicate: 2 })
  json(t, '{"a":{"a":{"a":1}},"b":{"a":1}}', '{"a":{"a":{"a":1}},"b":{"a":1}}')
  json(t, '{"a":1,"a\\u0000":{"b":1,"b":2},"c":["\\u0000"]}', '{"a":1,"c":[""]}', { control: 2, duplicate: 2 })
  json(
    t, '{"__proto__":{"polluted":1},"constructor":2,"__proto__\\u0000":3}',
    '{"__proto__":{"polluted":1},"constructor":2}', { control: 1, duplicate: 1 }
  )
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('json: rejects exactly what JSON.parse rejects', async t => {
  const isValid = (content: string) => {
    try {
      JSON.parse(content)
      return true
    } catch {
      return false
    }
  }
  const isAccepted = (content: string) => {
    try {
      sanitize({ content, contentType: 'application/json' })
      return true
    } catch (error) {
      if ((error as { code?: string }).code !== 'INVALID_JSON') throw error
      return false
    }
  }
  const tokens = [
    '{', '}', '[', ']', ',', ':', '"a"', '"', '\\', 'a', '1', '-', '01', '1.', '.5', '1e5', 'e', 'true', 'false',
    'null', 'nul', ' ', '\n', '\u00A0', '\t', "'", '"\\x"', '"\\u12"', '"\n"', '/'
  ]
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(fc.constantFrom(...tokens), { maxLength: 7 }), parts =>
    isAccepted(parts.join('')) === isValid(parts.join(''))), { numRuns: 20_000 }))
  for (const content of [
    '', ' ', '[1,]', '{"a":1,}', '[1 2]', '{"a" 1}', '{a:1}', '[1}', '{"a":1]', '1 2', '"a', '"a\\"', 'NaN', '[,1]',
    '{,}', '{"a"}', '\uFEFF'
  ]) {
    t.throws(() => sanitize({ content, contentType: 'application/json' }), {
      name: 'ProcessorError', code: 'INVALID_JSON', retryable: false, message: 'The content is not valid JSON.'
    })
  }
})

t.test('json: rejects more than 1000 levels or a million open names', async t => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
  t.equal(sanitize({ content: nested(1000), contentType: 'application/json' }).sanitized, nested(1000))
  t.throws(() => sanitize({ content: nested(1001), contentType: 'application/json' }), {
    code: 'JSON_TOO_DEEP', retryable: false
  })
  const wide = `{${Array.from({ length: 1e6 + 1 }, (_, at) => `"${at}":0`).join()}}`
  t.throws(() => sanitize({ content: wide, contentType: 'application/json' }), {
    code: 'JSON_TOO_WIDE', retryable: false
  })
  const many = `[${'{"a":"b​"},'.repeat(20_000)}{}]`
  t.equal(sanitize({ content: many, contentType: 'application/json' }).sanitized, many.replaceAll('​', ''))
  t.throws(() => sanitize({ content: '{"a":'.repeat(1e6), contentType: 'application/json' }), { code: 'JSON_TOO_DEEP' })
})
