// At most 15 digits without an exponent are the same number after JSON.parse. Strings match too, so that the digits in
// them are passed over.
const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:[\d.]{16,}|\d+(?:\.\d+)?[eE])[\d.eE+-]*/g

/** One spelling for all texts that denote the same number: 100, 1e2 and 100.0 give the same. */
const toDecimal = (number: string): string => {
  const [mantissa = '', exponent = '0'] = number.split(/e/i)
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.')
  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  const power = Number(exponent) - fraction.length + digits.length - significant.length
  // Such an exponent would be rounded itself: the number equals only itself.
  if (!Number.isSafeInteger(power)) return number
  return `${number.startsWith('-') ? '-' : ''}${significant}e${power}`
}

/**
 * Parsed JSON in which each number that a double would round is a string of its exact decimal value; undefined if there
 * is no such number. With the ordinarily parsed value it tells apart texts that differ in one digit.
 */
export const parseExactNumbers = (text: string): unknown => {
  let isRounded = false
  const exact = text.replace(tokens, token => {
    if (token.startsWith('"')) return token
    const decimal = toDecimal(token)
    if (decimal === toDecimal(String(Number(token)))) return token
    isRounded = true
    return `"${decimal}"`
  })
  return isRounded ? JSON.parse(exact) : undefined
}
