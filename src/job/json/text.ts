/*
 * JSON that a client or another program wrote is stored and shown as it was written, for JSON.parse rounds numbers.
 * These functions work on a text that JSON.parse has accepted, and take a few milliseconds for a megabyte.
 */

const [quote, backslash, comma, brace] = [0x22, 0x5c, 0x2c, 0x7b]

const isSpace = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
const opens = (code: number): boolean => code === 0x7b || code === 0x5b
const closes = (code: number): boolean => code === 0x7d || code === 0x5d

const skipSpace = (text: string, from: number): number => {
  let at = from
  while (isSpace(text.charCodeAt(at))) at++
  return at
}

/** Where the string that begins at `from` ends. */
export const skipString = (text: string, from: number): number => {
  let at = from + 1
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === quote) return at + 1
    at += code === backslash ? 2 : 1
  }
  return at
}

const skipValue = (text: string, from: number): number => {
  let depth = 0
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (depth === 0 && (code === comma || closes(code) || isSpace(code))) return at
    at = code === quote ? skipString(text, at) : at + 1
    if (opens(code)) depth++
    if (closes(code)) depth--
    if (depth === 0 && (code === quote || closes(code))) return at
  }
  return at
}

const isNamed = (token: string, name: string): boolean =>
  token.includes('\\') ? JSON.parse(token) === name : token.slice(1, -1) === name

/**
 * The text of an object's member as it was written; undefined if there is none of this name, or no object. Of several
 * members with one name the last counts, as in the value that JSON.parse returns.
 */
export const memberText = (objectText: string, name: string): string | undefined => {
  let found: string | undefined
  const start = skipSpace(objectText, 0)
  if (objectText.charCodeAt(start) !== brace) return undefined
  let at = skipSpace(objectText, start + 1)
  while (objectText.charCodeAt(at) === quote) {
    const nameEnd = skipString(objectText, at)
    const token = objectText.slice(at, nameEnd)
    const valueStart = skipSpace(objectText, skipSpace(objectText, nameEnd) + 1)
    const end = skipValue(objectText, valueStart)
    if (isNamed(token, name)) found = objectText.slice(valueStart, end)
    at = skipSpace(objectText, skipSpace(objectText, end) + 1)
  }
  return found
}

/**
 * How many arrays and objects are nested in each other at most. A value that JSON.parse returns can have fewer levels
 * than its text, which may name a member twice.
 */
export const jsonTextDepth = (text: string): number => {
  let depth = 0
  let deepest = 0
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at)
    at = code === quote ? skipString(text, at) : at + 1
    if (opens(code)) deepest = Math.max(deepest, ++depth)
    else if (closes(code)) depth--
  }
  return deepest
}
