import { ProcessorError } from '../processor.ts'
import type { Count } from './clean-text.ts'

/** Arrays and objects within each other. */
export const jsonDepthMax = 1000

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const word = /true|false|null/y
const space = /[ \t\n\r]*/y

const invalid = () => new ProcessorError('INVALID_JSON', 'The content is not valid JSON.')

/** Where a member starts in the input and what was written before it, to be able to take it back. */
type Member = { start: number, pieces: number, copiedTo: number }

type Level = { kind: 'array' } | { kind: 'object', names: Set<string>, member: Member | undefined, isDuplicate: boolean }

/**
 * Copies JSON text, replacing its strings. The text is never parsed into values: numbers would lose digits beyond 2^53
 * and their way of writing (1.0), `__proto__` its innocence, and a deep document overflow the stack.
 */
class JsonCopy {
  readonly #text: string
  readonly #clean: (text: string) => string
  readonly #count: Count
  readonly #levels: Level[] = []
  readonly #pieces: string[] = []
  #at = 0
  #copiedTo = 0

  constructor (text: string, clean: (text: string) => string, count: Count) {
    this.#text = text
    this.#clean = clean
    this.#count = count
  }

  run (): string {
    this.#skipSpace()
    do {
      // Each turn reads one value or opens one level, then closes every level that ends behind it.
      if (!this.#openLevel()) {
        this.#readScalar()
        this.#endValue()
      }
    } while (this.#levels.length > 0)
    if (this.#at < this.#text.length) throw invalid()
    this.#pieces.push(this.#text.slice(this.#copiedTo))
    return this.#pieces.join('')
  }

  /** Opens the array or object that begins here and goes to its first value; false where a scalar stands. */
  #openLevel (): boolean {
    const first = this.#text[this.#at]
    if (first !== '[' && first !== '{') return false
    if (this.#levels.length === jsonDepthMax) {
      throw new ProcessorError('JSON_TOO_DEEP', `JSON of more than ${jsonDepthMax} levels is not sanitized.`)
    }
    const level: Level = first === '['
      ? { kind: 'array' }
      : { kind: 'object', names: new Set(), member: undefined, isDuplicate: false }
    this.#levels.push(level)
    const start = this.#at++
    this.#skipSpace()
    if (this.#text[this.#at] === (first === '[' ? ']' : '}')) {
      this.#at++
      this.#levels.pop()
      this.#endValue()
    } else if (level.kind === 'object') {
      this.#readName(level, start + 1)
    }
    return true
  }

  /** Behind a value: on to the next one of this level, or out of the levels that end here. */
  #endValue () {
    for (;;) {
      this.#skipSpace()
      const level = this.#levels.at(-1)
      if (level === undefined) return
      const end = this.#at
      const mark = this.#text[this.#at++]
      if (level.kind === 'object') this.#dropDuplicate(level, end)
      if (mark === ',') {
        this.#skipSpace()
        if (level.kind === 'object') this.#readName(level, end)
        return
      }
      if (mark !== (level.kind === 'array' ? ']' : '}')) throw invalid()
      this.#levels.pop()
    }
  }

  #readName (level: Level & { kind: 'object' }, start: number) {
    level.member = { start, pieces: this.#pieces.length, copiedTo: this.#copiedTo }
    const name = this.#readString()
    level.isDuplicate = level.names.has(name)
    level.names.add(name)
    this.#skipSpace()
    if (this.#text[this.#at++] !== ':') throw invalid()
    this.#skipSpace()
  }

  // Readers disagree which of two equal names holds, so a disguised one must not override the one that stands first.
  #dropDuplicate (level: Level & { kind: 'object' }, end: number) {
    if (!level.isDuplicate || level.member === undefined) return
    const { start, pieces, copiedTo } = level.member
    this.#pieces.length = pieces
    this.#pieces.push(this.#text.slice(copiedTo, start))
    this.#copiedTo = end
    this.#count('duplicate')
  }

  #readScalar () {
    const first = this.#text[this.#at]
    if (first === '"') {
      this.#readString()
      return
    }
    const pattern = first === 't' || first === 'f' || first === 'n' ? word : number
    pattern.lastIndex = this.#at
    if (!pattern.test(this.#text)) throw invalid()
    this.#at = pattern.lastIndex
  }

  /** The cleaned string that begins here; its token is replaced only if that changes it, so that escapes stay as they were. */
  #readString (): string {
    const start = this.#at
    if (this.#text[start] !== '"') throw invalid()
    let end = this.#text.indexOf('"', start + 1)
    while (end !== -1 && this.#isEscaped(end)) end = this.#text.indexOf('"', end + 1)
    if (end === -1) throw invalid()
    this.#at = end + 1
    const value = this.#decode(this.#text.slice(start, this.#at))
    const cleaned = this.#clean(value)
    if (cleaned !== value) {
      this.#pieces.push(this.#text.slice(this.#copiedTo, start), JSON.stringify(cleaned))
      this.#copiedTo = this.#at
    }
    return cleaned
  }

  #decode (token: string): string {
    try {
      return JSON.parse(token) as string
    } catch {
      throw invalid()
    }
  }

  #isEscaped (quote: number): boolean {
    let backslashes = 0
    while (this.#text[quote - 1 - backslashes] === '\\') backslashes++
    return backslashes % 2 === 1
  }

  #skipSpace () {
    space.lastIndex = this.#at
    space.test(this.#text)
    this.#at = space.lastIndex
  }
}

/**
 * The same JSON text with each string cleaned, names too; of members whose names are then equal the first is kept.
 * Everything else stays as it is written, to the last digit and blank.
 *
 * Throws ProcessorError INVALID_JSON or JSON_TOO_DEEP.
 */
export const cleanJson = (text: string, clean: (text: string) => string, count: Count): string => {
  const marked = text.startsWith('\uFEFF')
  if (marked) count('invisible')
  return new JsonCopy(marked ? text.slice(1) : text, clean, count).run()
}
