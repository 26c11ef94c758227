import { ProcessorError } from '../../processor.ts'
import type { Count } from '../text/clean-text.ts'

/** Nested arrays and objects. */
const levelsMax = 1000

/** Names of the objects that are open at one place. They are kept to find duplicates. */
const namesMax = 1_000_000

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const word = /true|false|null/y
const space = /[ \t\n\r]*/y

const invalid = () => new ProcessorError('INVALID_JSON', 'The content is not valid JSON.')

type Level = { kind: 'array' } | { kind: 'object', names: Set<string> }

/** Pieces of text that are kept before they are joined: a bound for the number of objects in memory. */
const piecesMax = 8192

/**
 * Copies JSON text and replaces its strings. The text is never parsed into values: numbers would lose digits beyond
 * 2^53 and their notation (1.0), a member `__proto__` would set a prototype, and a deep document would overflow the
 * stack.
 */
class JsonCopy {
  readonly #text: string
  readonly #clean: (text: string) => string
  readonly #count: Count
  readonly #levels: Level[] = []
  readonly #blocks: string[] = []
  #pieces: string[] = []
  #at = 0
  #copiedTo = 0
  #names = 0
  // The level whose present member is left out, with its value.
  #dropping: Level | undefined

  constructor (text: string, clean: (text: string) => string, count: Count) {
    this.#text = text
    this.#clean = clean
    this.#count = count
  }

  run (): string {
    this.#skipSpace()
    do {
      // Each iteration reads one scalar or opens one level, then closes every level that ends after it.
      if (!this.#openLevel()) {
        this.#readScalar()
        this.#endValue()
      }
    } while (this.#levels.length > 0)
    if (this.#at < this.#text.length) throw invalid()
    this.#write(this.#text.length, '', this.#text.length)
    return [...this.#blocks, ...this.#pieces].join('')
  }

  /** Copies the text up to `end`, adds `piece` and continues at `from`. */
  #write (end: number, piece: string, from: number) {
    const start = this.#copiedTo
    this.#copiedTo = from
    if (this.#dropping !== undefined) return
    if (this.#pieces.push(this.#text.slice(start, end), piece) < piecesMax) return
    this.#blocks.push(this.#pieces.join(''))
    this.#pieces = []
  }

  /** Opens the array or object that begins here and goes to its first value; false if a scalar begins here. */
  #openLevel (): boolean {
    const first = this.#text[this.#at]
    if (first !== '[' && first !== '{') return false
    if (this.#levels.length === levelsMax) {
      throw new ProcessorError('JSON_TOO_DEEP', `JSON of more than ${levelsMax} levels is not sanitized.`)
    }
    const level: Level = first === '['
      ? { kind: 'array' }
      : { kind: 'object', names: new Set() }
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

  /** After a value: goes to the next one of this level, or closes the levels that end here. */
  #endValue () {
    for (;;) {
      this.#skipSpace()
      const level = this.#levels.at(-1)
      if (level === undefined) return
      const end = this.#at
      const mark = this.#text[this.#at++]
      if (level === this.#dropping) {
        this.#dropping = undefined
        this.#copiedTo = end
      }
      if (mark === ',') {
        this.#skipSpace()
        if (level.kind === 'object') this.#readName(level, end)
        return
      }
      if (mark !== (level.kind === 'array' ? ']' : '}')) throw invalid()
      this.#levels.pop()
      if (level.kind === 'object') this.#names -= level.names.size
    }
  }

  // JSON readers disagree on which of two equal names counts: a disguised name must not override the first one.
  #readName (level: Level & { kind: 'object' }, start: number) {
    const nameStart = this.#at
    const { value, cleaned } = this.#readString()
    if (level.names.has(cleaned)) {
      this.#count('duplicate')
      this.#write(start, '', start)
      this.#dropping ??= level
    } else {
      level.names.add(cleaned)
      if (++this.#names > namesMax) {
        throw new ProcessorError('JSON_TOO_WIDE', `JSON objects of more than ${namesMax} names are not sanitized.`)
      }
      if (cleaned !== value) this.#write(nameStart, JSON.stringify(cleaned), this.#at)
    }
    this.#skipSpace()
    if (this.#text[this.#at++] !== ':') throw invalid()
    this.#skipSpace()
  }

  #readScalar () {
    const first = this.#text[this.#at]
    if (first === '"') {
      const start = this.#at
      const { value, cleaned } = this.#readString()
      // A token is replaced only if cleaning changes it, so that its escapes stay as they are.
      if (cleaned !== value) this.#write(start, JSON.stringify(cleaned), this.#at)
      return
    }
    const pattern = first === 't' || first === 'f' || first === 'n' ? word : number
    pattern.lastIndex = this.#at
    if (!pattern.test(this.#text)) throw invalid()
    this.#at = pattern.lastIndex
  }

  /** Reads the string that begins here; gives it as it is and cleaned. */
  #readString (): { value: string, cleaned: string } {
    const start = this.#at
    if (this.#text[start] !== '"') throw invalid()
    let end = this.#text.indexOf('"', start + 1)
    while (end !== -1 && this.#isEscaped(end)) end = this.#text.indexOf('"', end + 1)
    if (end === -1) throw invalid()
    this.#at = end + 1
    const value = this.#decode(this.#text.slice(start, this.#at))
    return { value, cleaned: this.#clean(value) }
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
 * JSON text with every string cleaned, names included. Of members whose names are equal after that, the first is kept.
 * Everything else is copied unchanged, digits and white space included.
 *
 * Throws ProcessorError INVALID_JSON, JSON_TOO_DEEP or JSON_TOO_WIDE, and what `clean` throws.
 */
export const cleanJson = (text: string, clean: (text: string) => string, count: Count): string => {
  const marked = text.startsWith('\uFEFF')
  if (marked) count('invisible')
  return new JsonCopy(marked ? text.slice(1) : text, clean, count).run()
}
