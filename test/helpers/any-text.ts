import fc from 'fast-check'

const toCode = (text: unknown): number => {
  const code = typeof text === 'string' ? text.codePointAt(0) : undefined
  if (code === undefined || String.fromCodePoint(code) !== text) throw new Error('not one code point')
  return code
}

/**
 * Any code point, half surrogates too, as the unit of a string. `unit: 'binary'` of fast-check yields the same, but lists
 * all 1.1 million code points before the first string: 1.3 s of CPU.
 */
export const anyCodePoint = fc.integer({ min: 0, max: 0x10ffff }).map(code => String.fromCodePoint(code), toCode)
