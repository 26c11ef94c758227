import { toTime } from '../time.ts'

/*
 * Reads the values of a record. Other programs write them, and the columns of a table that another program made hold
 * values of any type: an empty text counts as null everywhere, and what is not understood is null, never a guess.
 */

/** A value that was not understood: its column, and what it is. */
export type UnreadValue = { column: string, type: 'text' | 'number' | 'bytes' }

type Read<Value> = (value: unknown) => Value | null

/** A text; a number in its place is shown as text. Bytes are not shown. */
export const toText: Read<string> = value =>
  typeof value === 'number' ? String(value) : typeof value === 'string' && value !== '' ? value : null

// No digit can be matched in two ways: a long text would take quadratic time.
const decimal = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i

/** A finite number, also one in text. */
const toNumber: Read<number> = value => {
  const number = typeof value === 'string' && decimal.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isFinite(number) ? number : null
}

/** A whole number from 0 on, also one in text. */
const toCount: Read<number> = value => {
  const number = toNumber(value)
  return number !== null && Number.isSafeInteger(number) && number >= 0 ? number : null
}

const typeOf = (value: unknown): UnreadValue['type'] =>
  typeof value === 'string' ? 'text' : typeof value === 'number' ? 'number' : 'bytes'

/** Reads the columns of one row, and collects in `unread` what it does not understand. */
export const createRowReader = <Row extends object>(row: Row) => {
  const unread: UnreadValue[] = []
  const reads = <Value>(read: Read<Value>) => (column: keyof Row & string): Value | null => {
    const value = row[column]
    if (value === null || value === '') return null
    const known = read(value)
    if (known === null) unread.push({ column, type: typeOf(value) })
    return known
  }
  return { unread, time: reads(toTime), text: reads(toText), number: reads(toNumber), count: reads(toCount) }
}
