/*
 * Reads times in the notations that engines, drivers and ORMs store in SQLite; docs/foreign-rows.md lists them. The
 * indexes of the store read the same in SQL, and test/store/sqlite/times.test.ts holds both to the same values: a
 * change here needs a migration.
 */

// Nearly every stored time has this form.
const commonForm = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?[Zz]?$/

const dayMs = 86_400_000
const daysInMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

const isLeapYear = (year: number) => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)

// Date.UTC takes the years 0 to 99 for 1900 to 1999.
const startOfYear = (year: number): number => Date.UTC(year + 400, 0, 1) - 146_097 * dayMs

const fromCalendarDate = (year: number, month: number, day: number): number | null => {
  const lastDay = month === 2 && isLeapYear(year) ? 29 : daysInMonth[month - 1] ?? 0
  return day < 1 || day > lastDay ? null : Date.UTC(year + 400, month - 1, day) - 146_097 * dayMs
}

const fromOrdinalDate = (year: number, day: number): number | null =>
  day < 1 || day > (isLeapYear(year) ? 366 : 365) ? null : startOfYear(year) + (day - 1) * dayMs

// Week 1 is the week of the first Thursday.
const fromWeekDate = (year: number, week: number, weekday: number): number | null => {
  const first = startOfYear(year)
  const weekdayOfFourth = (new Date(first + 3 * dayMs).getUTCDay() + 6) % 7
  const thursday = first + (week * 7 - weekdayOfFourth - 1) * dayMs
  const isInYear = week >= 1 && week <= 53 && thursday < startOfYear(year + 1)
  return isInYear ? thursday + (weekday - 4) * dayMs : null
}

const fromTimeOfDay = (hour: number, minute: number, second: number, fraction: string): number | null => {
  const ms = Number(fraction.slice(0, 3).padEnd(3, '0'))
  const isEndOfDay = hour === 24 && minute === 0 && second === 0 && ms === 0
  if ((hour > 23 && !isEndOfDay) || minute > 59 || second > 59) return null
  return hour * 3_600_000 + minute * 60_000 + second * 1000 + ms
}

type Parsed = { ms: number, rest: string }

const parsed = (ms: number | null, [text]: RegExpExecArray, from: string): Parsed | null =>
  ms === null ? null : { ms, rest: from.slice(text.length) }

const dateForm =
  /^(\d{4})(?:-(\d\d)-(\d\d)|-(\d{3})|-W(\d\d)-([1-7])|W(\d\d)([1-7])|(\d\d)(\d\d)|(\d{3}))/

const parseDate = (text: string): Parsed | null => {
  const parts = dateForm.exec(text)
  if (parts === null) return null
  const [year, month, day, ordinal, week, weekday] = [
    parts[1], parts[2] ?? parts[9], parts[3] ?? parts[10], parts[4] ?? parts[11], parts[5] ?? parts[7],
    parts[6] ?? parts[8]
  ].map(Number) as [number, number, number, number, number, number]
  if (!Number.isNaN(month)) return parsed(fromCalendarDate(year, month, day), parts, text)
  if (!Number.isNaN(ordinal)) return parsed(fromOrdinalDate(year, ordinal), parts, text)
  return parsed(fromWeekDate(year, week, weekday), parts, text)
}

const timeForm = /^[Tt ](\d\d)(?::(\d\d):(\d\d)(?:[.,](\d+))?|:(\d\d)|(\d\d)(\d\d)(?:[.,](\d+))?|(\d\d))?/

const parseTimeOfDay = (text: string): Parsed | null => {
  const parts = timeForm.exec(text)
  if (parts === null) return null
  const minute = parts[2] ?? parts[5] ?? parts[6] ?? parts[9] ?? 0
  const ms = fromTimeOfDay(
    Number(parts[1]), Number(minute), Number(parts[3] ?? parts[7] ?? 0), parts[4] ?? parts[8] ?? ''
  )
  return parsed(ms, parts, text)
}

const utcName = /^ ?(?:UTC|GMT)|^ (?=[^])/
const offsetForm = /^([+-])(\d\d)(?::(\d\d):(\d\d)|:(\d\d)|(\d\d))?/
// [Europe/Paris] of Java; ` (Central European Time)` of JavaScript; ` CET m=+0.1` of Go.
const zoneId = /^\[[^\0]+\]$/
const zoneName = /^ (?:\([^\0]+\)|[A-Za-z0-9+-]+(?: m=[0-9.+-]*)?)$/

/** What is to be subtracted from a local time; null where the text is no zone. No text is UTC. */
const toOffsetMs = (text: string): number | null => {
  const zone = text.replace(utcName, '')
  if (zone === '') return 0
  const parts = offsetForm.exec(zone)
  if (parts === null) return /^[Zz]/.test(zone) && (zone.length === 1 || zoneId.test(zone.slice(1))) ? 0 : null
  const [hour, minute, second] = [parts[2], parts[3] ?? parts[5] ?? parts[6] ?? 0, parts[4] ?? 0].map(Number) as [
    number, number, number
  ]
  const name = zone.slice(parts[0].length)
  if (hour > 23 || minute > 59 || second > 59 || !(name === '' || zoneId.test(name) || zoneName.test(name))) return null
  return (parts[1] === '-' ? -1000 : 1000) * (hour * 3600 + minute * 60 + second)
}

const months = 'JanFebMarAprMayJunJulAugSepOctNovDec'

const toIsoDate = (day: string, month: string, year: string): string => {
  const index = months.indexOf(month) / 3
  return Number.isInteger(index) ? `${year}-${String(index + 1).padStart(2, '0')}-${day.padStart(2, '0')}` : ''
}

// RFC 5322 and HTTP, with or without the day's name; Date.toString() of JavaScript; a year of six digits.
const toIsoForm = (text: string): string => text
  .replace(/^[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d{4} )/, '$2 $1 $3')
  .replace(/^[A-Z][a-z]{2}, |^\+00(?=\d{4}-)/, '')
  .replace(/^(\d\d?) ([A-Z][a-z]{2}) (\d{4})(?= )/, (_, day: string, month: string, year: string) =>
    toIsoDate(day, month, year))

// RFC 3339 has no other years.
const timeMin = Date.parse('0000-01-01T00:00:00Z')
const timeMax = Date.parse('9999-12-31T23:59:59.999Z')

const inYearsOfFourDigits = (ms: number | null): number | null =>
  ms === null || ms < timeMin || ms > timeMax ? null : ms

const fromOtherForms = (text: string): number | null => {
  const date = parseDate(toIsoForm(text))
  if (date === null || date.rest === '') return inYearsOfFourDigits(date?.ms ?? null)
  const time = parseTimeOfDay(date.rest)
  const offsetMs = time === null ? null : toOffsetMs(time.rest)
  return time === null || offsetMs === null ? null : inYearsOfFourDigits(date.ms + time.ms - offsetMs)
}

/**
 * Milliseconds since 1970-01-01 UTC of a date or a date-time in text; null where it is neither.
 *
 * ISO 8601: calendar, ordinal and week dates, basic and extended, with `T`, `t` or a space before the time, fractions
 * after `.` or `,` (cut to milliseconds) and any offset. Also the dates of RFC 5322, HTTP and JavaScript, and the zones
 * that Go, Java and Ruby add. Without an offset the time is UTC.
 */
export const toEpochMs = (text: string): number | null => {
  const parts = commonForm.exec(text)
  if (parts === null) return fromOtherForms(text)
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number) as [
    number, number, number, number, number, number
  ]
  const date = fromCalendarDate(year, month, day)
  const time = fromTimeOfDay(hour, minute, second, parts[7] ?? '')
  return date === null || time === null ? null : inYearsOfFourDigits(date + time)
}

// By the size of its whole part: Julian days, seconds, milliseconds, microseconds.
const fromNumber = (whole: number, part: number): number | null => {
  if (whole < 1e7) return whole * dayMs - 210_866_760_000_000 + Math.floor(part * dayMs + 0.5)
  if (whole < 1e8) return null
  if (whole < 1e11) return whole * 1000 + Math.floor(part * 1000 + 0.5)
  // A double of this size divided by 1000 can be rounded up.
  return whole < 1e14 ? whole + Math.floor(part + 0.5) : Number(BigInt(whole) / 1000n)
}

// A date in digits that a column turned into a number, or back into text. Seven digits are a year and its day, but for
// the Julian days since 1858.
const isDateInDigits = (digits: string): boolean =>
  digits.length === 8 || (digits.length === 7 && Number(digits) <= 2_400_000)

const numberForm = /^(\d{1,17})(?:\.(\d*))?$/
// How SQLite stores a number of 16 digits and more in a column for text.
const exponentForm = /^([1-9])\.(\d+)e\+(1[4-6])$/

const fromDigits = (digits: string, fraction: string): number | null => {
  const part = Number(fraction.slice(0, 15)) / Number('1'.padEnd(Math.min(fraction.length, 15) + 1, '0'))
  if (part === 0 && isDateInDigits(digits)) return toEpochMs(digits)
  const whole = BigInt(digits)
  // Microseconds can have more digits than a double holds.
  return inYearsOfFourDigits(whole < 1e14 ? fromNumber(Number(whole), part) : Number(whole / 1000n))
}

// A longer text is no time: the database does not examine it.
const textBytesMax = 128

const isTooLong = (text: string): boolean =>
  text.length > textBytesMax / 3 && new TextEncoder().encode(text).length > textBytesMax

const fromText = (text: string): number | null => {
  if (isTooLong(text)) return null
  const exponent = exponentForm.exec(text)
  if (exponent !== null) {
    const [, first = '', more = '', power] = exponent
    const length = Number(power) + 1
    return fromDigits((first + more).padEnd(length, '0').slice(0, length), '')
  }
  const number = numberForm.exec(text)
  return number === null ? toEpochMs(text) : fromDigits(number[1] ?? '', number[2] ?? '')
}

const fromReal = (value: number): number | null => {
  if (!(value >= 0 && value < 1e17)) return null
  const whole = Math.trunc(value)
  const isDate = whole === value && isDateInDigits(String(whole))
  return isDate ? toEpochMs(String(whole)) : inYearsOfFourDigits(fromNumber(whole, value - whole))
}

/**
 * A time as a record of any program may hold it, in milliseconds since 1970-01-01 UTC; null where it is none, and
 * outside the years 0 to 9999. A number, also as text, counts by its size: below 1e7 a Julian day, below 1e8 a date of
 * eight digits, below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds.
 */
export const toTime = (value: unknown): number | null =>
  typeof value === 'string' ? fromText(value) : typeof value === 'number' ? fromReal(value) : null

const twoDigits = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'))
let latest = { day: NaN, text: '' }

/**
 * The canonical text of an instant in milliseconds: `2026-01-31T12:00:00.000Z`. Throws RangeError beyond ±8.64e15.
 *
 * Date.toISOString was a quarter of what it takes to make the views of a job; most times are of the same day as the one
 * before.
 */
export const toIso = (ms: number): string => {
  if (!Number.isInteger(ms) || ms < timeMin || ms > timeMax) return new Date(ms).toISOString()
  const day = Math.floor(ms / dayMs)
  if (day !== latest.day) latest = { day, text: new Date(ms).toISOString().slice(0, 11) }
  const msOfDay = ms - day * dayMs
  const minute = Math.floor(msOfDay / 60_000)
  const second = Math.floor(msOfDay / 1000) - minute * 60
  const hour = Math.floor(minute / 60)
  const fraction = String(1000 + msOfDay % 1000).slice(1)
  return `${latest.text}${twoDigits[hour]}:${twoDigits[minute - hour * 60]}:${twoDigits[second]}.${fraction}Z`
}

/** The same; null stays null. */
export const toIsoOrNull = (ms: number | null): string | null => ms === null ? null : toIso(ms)
