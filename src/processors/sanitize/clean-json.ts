import { ProcessorError } from '../processor.ts'
import type { Count } from './clean-text.ts'

/** Arrays and objects within each other. */
const jsonDepthMax = 1000

/** Names of all the objects that stand open at one place; they are remembered to find equal ones. */
const jsonNamesMax = 1_000_000

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const word = /true|false|null/y
const space = /[ \t\n\r]*/y

const invalid = () => new ProcessorError('INVALID_JSON', 'The content is not valid JSON.')

type Level = { kind: 'array' } | { kind: 'object', names: Set<string> }

/** Strings replaced before they are joined with what stands between them: a bound for the objects in memory. */
const piecesMax = 8192

/**
 * Copies JSON text, replacing its strings. The text is never parsed into values: numbers would lose digits beyond 2^53
 * and their way of writing (1.0), `__proto__` its innocence, and a deep document overflow the stack.
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
  // The level of the member that is being left out, with all it holds.
  #dropping: Level | undefined

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
    this.#write(this.#text.length, '', this.#text.length)
    return [...this.#blocks, ...this.#pieces].join('')
  }

  /** Copies what has not been copied up to `end`, puts `piece` after it and goes on at `from`. */
  #write (end: number, piece: string, from: number) {
    const start = this.#copiedTo
    this.#copiedTo = from
    if (this.#dropping !== undefined) return
    if (this.#pieces.push(this.#text.slice(start, end), piece) < piecesMax) return
    this.#blocks.push(this.#pieces.join(''))
    this.#pieces = []
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

  /** Behind a value: on to the next one of this level, or out of the levels that end here. */
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

  // Readers disagree which of two equal names holds, so a disguised one must not override the one that stands first.
  #readName (level: Level & { kind: 'object' }, start: number) {
    const nameStart = this.#at
    const { value, cleaned } = this.#readString()
    if (level.names.has(cleaned)) {
      this.#count('duplicate')
      this.#write(start, '', start)
      this.#dropping ??= level
    } else {
      level.names.add(cleaned)
      if (++this.#names > jsonNamesMax) {
        throw new ProcessorError('JSON_TOO_WIDE', `JSON objects of more than ${jsonNamesMax} names are not sanitized.`)
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
      // A token is replaced only if cleaning changes it, so that escapes stay as they were.
      if (cleaned !== value) this.#write(start, JSON.stringify(cleaned), this.#at)
      return
    }
    const pattern = first === 't' || first === 'f' || first === 'n' ? word : number
    pattern.lastIndex = this.#at
    if (!pattern.test(this.#text)) throw invalid()
    this.#at = pattern.lastIndex
  }

  /** The string that begins here, as it is and cleaned. */
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
 * The same JSON text with each string cleaned, names too; of members whose names are then equal the first is kept.
 * Everything else stays as it is written, to the last digit and blank.
 *
 * Throws ProcessorError INVALID_JSON, JSON_TOO_DEEP or JSON_TOO_WIDE, and what `clean` throws.
 */
export const cleanJson = (text: string, clean: (text: string) => string, count: Count): string => {
  const marked = text.startsWith('\uFEFF')
  if (marked) count('invisible')
  return new JsonCopy(marked ? text.slice(1) : text, clean, count).run()
}
