import fc from 'fast-check'

/*
 * JSON texts as other programs write them: long numbers in every notation, blanks, escapes, members named twice.
 */

const blanks = ['', '', '', ' ', '\n', '\t\r\n  ']

/** White space, mostly none. */
export const space = fc.constantFrom(...blanks)

const digits = fc.stringMatching(/^[1-9]\d{0,40}$/)

const number = fc.oneof(
  digits,
  fc.tuple(fc.constantFrom('', '-'), fc.oneof(fc.constant('0'), digits), fc.stringMatching(/^\d{1,30}$/))
    .map(([sign, whole, fraction]) => `${sign}${whole}.${fraction}`),
  fc.tuple(digits, fc.constantFrom('e', 'E', 'e-', 'E+'), fc.nat(200)).map(parts => parts.join('')),
  fc.constantFrom('9007199254740993', '-0', '1.0', '2.50', '1e2', '1e-400', '0.1')
)

const string = fc.oneof(
  fc.string().map(value => JSON.stringify(value)), fc.constantFrom('"\\u005f\\/"', '"\\\\"', '"[{\\"1e999,"', '"\u2028ü😀"')
)

/** The text of any JSON value of limited depth; no number in it is out of the range of a double. */
export const anyJsonText: fc.Arbitrary<string> = fc.letrec<{ value: string }>(tie => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    number,
    string,
    fc.constantFrom('null', 'true', 'false'),
    fc.tuple(fc.array(tie('value'), { maxLength: 4 }), space)
      .map(([values, blank]) => `[${blank}${values.join(`${blank},`)}${blank}]`),
    fc.tuple(fc.array(fc.tuple(string, tie('value')), { maxLength: 4 }), space).map(([members, blank]) =>
      `{${blank}${members.map(([name, value]) => `${name}${blank}:${value}`).join(`,${blank}`)}${blank}}`)
  )
})).value
