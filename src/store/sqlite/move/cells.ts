import { isUtf8 } from 'node:buffer'
import type { CopyValue } from '../../move/copy-format.ts'
import type { ColumnType } from '../../move/moved-tables.ts'

/*
 * The values of a table as Postgres takes them. The columns of a table that another program made may hold values of any
 * type; each is taken for what the service reads in it.
 */

/** A value as SQLite returns it: integers as bigint, texts as their bytes, and the bytes of a text column as `blob`. */
export type Cell = Uint8Array | bigint | number | string | null

/** The value in the other database, or why that cannot hold it. */
export type Conversion = { value: CopyValue } | { problem: string }

const whole = /^[+-]?\d{1,18}$/
const decimal = /^[+-]?(?:\d{1,100}(?:\.\d{0,100})?|\.\d{1,100})(?:e[+-]?\d{1,3})?$/i

const toText = (cell: Exclude<Cell, null>): Conversion => {
  if (cell === 'blob') return { problem: 'has bytes in place of a text' }
  if (!(cell instanceof Uint8Array)) return { value: Buffer.from(String(cell)) }
  if (cell.includes(0)) return { problem: 'has a NUL character' }
  return isUtf8(cell) ? { value: cell } : { problem: 'has a lone surrogate, or other bytes that are not UTF-8' }
}

// A number may stand as text. It was read as bytes, or as a string.
const toDigits = (cell: Exclude<Cell, null>): string => cell instanceof Uint8Array
  ? Buffer.from(cell.buffer, cell.byteOffset, Math.min(cell.byteLength, 400)).toString('latin1')
  : String(cell)

const toWhole = (cell: Exclude<Cell, null>): Conversion => {
  if (typeof cell === 'bigint') return { value: cell }
  if (typeof cell === 'number' && Number.isSafeInteger(cell)) return { value: BigInt(cell) }
  return typeof cell !== 'number' && whole.test(toDigits(cell))
    ? { value: BigInt(toDigits(cell)) }
    : { problem: 'is no whole number' }
}

const toNumber = (cell: Exclude<Cell, null>): Conversion => {
  if (typeof cell === 'number' || typeof cell === 'bigint') return { value: Number(cell) }
  return decimal.test(toDigits(cell)) ? { value: Number(toDigits(cell)) } : { problem: 'is no number' }
}

const isEmpty = (cell: Cell): boolean => cell instanceof Uint8Array ? cell.byteLength === 0 : cell === ''

/** Converts a value for a column of the other database. */
export const convert = (type: ColumnType, cell: Cell): Conversion => {
  if (cell === null) return { value: null }
  switch (type) {
    case 'text': return toText(cell)
    case 'bytea': return { value: cell as Uint8Array }
    // An empty text counts as null in every column for numbers.
    case 'int8': case 'int2': return isEmpty(cell) ? { value: null } : toWhole(cell)
    case 'float8': return isEmpty(cell) ? { value: null } : toNumber(cell)
  }
}
