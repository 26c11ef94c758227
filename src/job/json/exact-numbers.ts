import { skipString } from './text.ts'

const [quote, minus, plus, point, zero, nine, upperE, lowerE] = [0x22, 0x2d, 0x2b, 0x2e, 0x30, 0x39, 0x45, 0x65]

const isDigit = (code: number): boolean => code >= zero && code <= nine

// So many decimal digits are the same number after JSON.parse, unless it is almost zero.
const safeDigitsMax = 15
const safeMin = 1e-290

/** One spelling for all texts that denote the same number: 100, 1e2 and 100.0 give the same. */
const toDecimal = (number: string): string => {
  const mantissaEnd = Math.max(number.indexOf('e'), number.indexOf('E'))
  const mantissa = mantissaEnd < 0 ? number : number.slice(0, mantissaEnd)
  const sign = mantissa.charCodeAt(0) === minus ? '-' : ''
  const dot = mantissa.indexOf('.')
  const digits = dot < 0 ? mantissa.slice(sign.length) : mantissa.slice(sign.length, dot) + mantissa.slice(dot + 1)
  let [begin, end] = [0, digits.length]
  while (digits.charCodeAt(begin) === zero) begin++
  while (end > begin && digits.charCodeAt(end - 1) === zero) end--
  if (begin === end) return '0'
  const fractionDigits = dot < 0 ? 0 : mantissa.length - dot - 1
  const exponent = mantissaEnd < 0 ? 0 : Number(number.slice(mantissaEnd + 1))
  const power = exponent - fractionDigits + digits.length - end
  // Such an exponent would be rounded itself: the number equals only itself.
  return Number.isSafeInteger(power) ? `${sign}${digits.slice(begin, end)}e${power}` : number
}

const integer = /^-?\d+$/

/** The exact value of a number that a double rounds; undefined: a double does not round it. */
const toRoundedDecimal = (number: string): string | undefined => {
  const value = Number(number)
  if (number.length <= safeDigitsMax && Math.abs(value) >= safeMin) return undefined
  const shortest = String(value)
  if (shortest === number) return undefined
  if (integer.test(number) && integer.test(shortest)) return toDecimal(number)
  const decimal = toDecimal(number)
  return decimal === toDecimal(shortest) ? undefined : decimal
}

/**
 * Parsed JSON in which each number that a double would round is a string instead: NUL and its exact decimal value.
 * Undefined if there is no such number.
 */
export const parseExactNumbers = (text: string): unknown => {
  const pieces: string[] = []
  let copied = 0
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at)
    if (code === quote) at = skipString(text, at)
    else if (code !== minus && !isDigit(code)) at++
    else {
      const start = at
      let hasExponent = false
      for (let next = code; ; next = text.charCodeAt(at)) {
        if (next === lowerE || next === upperE) hasExponent = true
        else if (!isDigit(next) && next !== point && next !== minus && next !== plus) break
        at++
      }
      if (!hasExponent && at - start <= safeDigitsMax) continue
      const decimal = toRoundedDecimal(text.slice(start, at))
      if (decimal === undefined) continue
      pieces.push(text.slice(copied, start), `"\\u0000${decimal}"`)
      copied = at
    }
  }
  return pieces.length === 0 ? undefined : JSON.parse(pieces.join('') + text.slice(copied))
}
