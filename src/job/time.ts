import { DateTime } from 'luxon'

// Nearly every stored time has this form, and Luxon takes fifty times as long to read it.
const commonForm = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?[Zz]?$/

// Luxon reads a bare time of day as today's, which would make the answer depend on the clock.
const startsWithDate = /^(?:[+-]\d{6}|\d{4})(?!:)/

const daysInMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

const isLeapYear = (year: number) => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)

const fromCommonForm = (parts: RegExpExecArray): number | null => {
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number) as [
    number, number, number, number, number, number
  ]
  const lastDay = month === 2 && isLeapYear(year) ? 29 : daysInMonth[month - 1] ?? 0
  // Date.UTC takes the years 0 to 99 for 1900 to 1999; Luxon also knows 24:00.
  if (year < 100 || day < 1 || day > lastDay || hour > 23 || minute > 59 || second > 59) return null
  const fraction = parts[7]
  const millisecond = fraction === undefined ? 0 : Number(fraction.slice(0, 3).padEnd(3, '0'))
  return Date.UTC(year, month - 1, day, hour, minute, second, millisecond)
}

/**
 * Milliseconds since 1970-01-01 UTC of an ISO 8601 date or date-time; null where the text is neither.
 *
 * Calendar, ordinal and week dates, basic and extended, with `T`, `t` or a space before the time, fractions after
 * `.` or `,` (cut to milliseconds) and any offset. Without an offset the time is UTC.
 */
export const toEpochMs = (text: string): number | null => {
  const parts = commonForm.exec(text)
  const quick = parts === null ? null : fromCommonForm(parts)
  if (quick !== null) return quick
  if (!startsWithDate.test(text)) return null
  const time = DateTime.fromISO(text.replace(/[t ]/, 'T').replace(/z$/, 'Z'), { zone: 'utc' })
  return time.isValid ? time.toMillis() : null
}

/** The canonical text of an instant in milliseconds: `2026-01-31T12:00:00.000Z`. Throws RangeError beyond ±8.64e15. */
export const toIso = (ms: number): string => new Date(ms).toISOString()

/** The same; null stays null. */
export const toIsoOrNull = (ms: number | null): string | null => ms === null ? null : toIso(ms)
