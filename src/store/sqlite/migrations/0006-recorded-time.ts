import { sql } from 'kysely'

/*
 * Reads a recorded time in plain SQL: the same as `toTime` in src/job/time.ts, for the indexes that lists and the
 * pruner search. test/store/sqlite/times.test.ts holds both to the same values.
 *
 * A table reads what is written to its column `value`: each further column is generated from those before it, and `at`
 * is the time in milliseconds since 1970, or null. Triggers use its rows as scratch paper, inside other programs. One
 * expression would be too long, since SQL cannot name an intermediate value; nested subqueries can, but fourteen of
 * them overflow the parser of SQLite 3.40, which then reads nothing of the file.
 *
 * The date functions of SQLite accept other forms in each release, so that none is called here.
 */

const digits = (count: number): string => '[0-9]'.repeat(count)

const int = (text: string): string => `CAST(${text} AS INTEGER)`

const areDigits = (text: string): string => `${text} NOT GLOB '*[^0-9]*'`

// How SQLite stores a number of 16 digits and more in a column for text.
const exponentForm = '[1-9].[0-9]*e+1[4-6]'
const real = 'CAST(value AS REAL)'
const zeros = (count: number): string => `'${'0'.repeat(count)}'`

const number: Record<string, string> = {
  digits: `CASE
    WHEN typeof(value) <> 'text' THEN NULL
    WHEN value GLOB '${exponentForm}' THEN substr(
      substr(value, 1, 1) || substr(value, 3, length(value) - 6) || ${zeros(16)}, 1, ${int('substr(value, -2)')} + 1)
    WHEN instr(value, '.') THEN substr(value, 1, instr(value, '.') - 1) ELSE value END`,
  decimals: `CASE WHEN value GLOB '${exponentForm}' OR NOT instr(value, '.') THEN ''
    ELSE substr(value, instr(value, '.') + 1) END`,
  whole: `CASE
    WHEN typeof(value) = 'text' THEN CASE
      WHEN length(digits) BETWEEN 1 AND 17 AND ${areDigits('digits')} AND ${areDigits('decimals')}
        AND NOT instr(value, char(0)) THEN ${int('digits')} END
    WHEN typeof(value) IN ('integer', 'real') AND ${real} >= 0 AND ${real} < 1e17 THEN ${int(real)} END`,
  part: `CASE typeof(value)
    WHEN 'text' THEN ${int('substr(decimals, 1, 15)')} * 1.0
      / ${int(`'1' || substr(${zeros(15)}, 1, length(decimals))`)}
    ELSE ${real} - ${int(real)} END`,
  // Whole numbers that are dates: of eight digits, or a year and its day, up to where Julian days mean 1858.
  dateDigits: `CASE
    WHEN whole IS NULL OR part > 0 OR whole >= 100000000 THEN NULL
    WHEN typeof(value) = 'text' THEN CASE
      WHEN length(digits) = 8 OR (length(digits) = 7 AND whole <= 2400000) THEN digits END
    WHEN whole >= 10000000 OR whole BETWEEN 1000000 AND 2400000 THEN CAST(whole AS TEXT) END`
}

const name = '[A-Z][a-z][a-z]'
const monthOf = (text: string): string => `instr('JanFebMarAprMayJunJulAugSepOctNovDec', substr(${text}, 4, 3))`
const fromMonthName = (text: string): string => `CASE ${monthOf(text)} % 3 WHEN 1 THEN substr(${text}, 8, 4) || '-'
      || substr('0' || (${monthOf(text)} / 3 + 1), -2) || '-' || substr(${text}, 1, 2) || substr(${text}, 12) END`

const text: Record<string, string> = {
  // Without the name of the day, and a year of six digits as one of four.
  plain: `CASE
    WHEN whole IS NOT NULL OR typeof(value) <> 'text' OR instr(value, char(0)) THEN dateDigits
    WHEN value GLOB '+00${digits(4)}-*' THEN substr(value, 4)
    WHEN value GLOB '${name}, *' THEN substr(value, 6)
    WHEN value GLOB '${name} ${name} ${digits(2)} ${digits(4)} *'
      THEN substr(value, 9, 3) || substr(value, 5, 4) || substr(value, 12)
    ELSE value END`,
  iso: `CASE
    WHEN plain GLOB '${digits(1)} ${name} ${digits(4)} *' THEN ${fromMonthName("'0' || plain")}
    WHEN plain GLOB '${digits(2)} ${name} ${digits(4)} *' THEN ${fromMonthName('plain')}
    ELSE plain END`
}

const date: Record<string, string> = {
  form: `CASE
    WHEN iso GLOB '${digits(4)}-${digits(2)}-${digits(2)}*' THEN 1
    WHEN iso GLOB '${digits(4)}-${digits(3)}*' THEN 2
    WHEN iso GLOB '${digits(4)}-W${digits(2)}-[1-7]*' THEN 3
    WHEN iso GLOB '${digits(4)}W${digits(2)}[1-7]*' THEN 4
    WHEN iso GLOB '${digits(8)}*' THEN 5
    WHEN iso GLOB '${digits(7)}*' THEN 6 END`,
  year: int('substr(iso, 1, 4)'),
  isLeap: 'year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0)',
  // The day of 1 January since 1970.
  newYear: '365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400 - 719528',
  // Month, day of the year or week; and the day in it.
  major: int(`CASE form WHEN 1 THEN substr(iso, 6, 2) WHEN 2 THEN substr(iso, 6, 3) WHEN 3 THEN substr(iso, 7, 2)
    WHEN 4 THEN substr(iso, 6, 2) WHEN 5 THEN substr(iso, 5, 2) ELSE substr(iso, 5, 3) END`),
  minor: int(`CASE form WHEN 1 THEN substr(iso, 9, 2) WHEN 3 THEN substr(iso, 10, 1) WHEN 4 THEN substr(iso, 8, 1)
    WHEN 5 THEN substr(iso, 7, 2) END`),
  daysInMonth: `${int("substr('312831303130313130313031', major * 2 - 1, 2)")} + (major = 2 AND isLeap)`,
  // From 1 January to the Monday of week 1, which has the first Thursday.
  firstMonday: '3 - (newYear + 770006) % 7',
  day: `CASE
    WHEN form IN (1, 5) THEN CASE WHEN major BETWEEN 1 AND 12 AND minor BETWEEN 1 AND daysInMonth
      THEN newYear + ${int("substr('000031059090120151181212243273304334', major * 3 - 2, 3)")} + (major > 2 AND isLeap)
        + minor - 1 END
    WHEN form IN (2, 6) THEN CASE WHEN major BETWEEN 1 AND 365 + isLeap THEN newYear + major - 1 END
    WHEN major BETWEEN 1 AND 52 + (firstMonday + 367 < 365 + isLeap)
      THEN newYear + firstMonday + major * 7 + minor - 8 END`
}

const timeOfDay: Record<string, string> = {
  clock: 'substr(iso, CASE form WHEN 1 THEN 11 WHEN 3 THEN 11 WHEN 6 THEN 8 ELSE 9 END)',
  // Where the time ends, and its fraction or zone begins.
  clockEnd: `CASE
    WHEN clock = '' THEN 1
    WHEN clock GLOB '[Tt ]${digits(2)}:${digits(2)}:${digits(2)}*' THEN 10
    WHEN clock GLOB '[Tt ]${digits(2)}:${digits(2)}*' THEN 7
    WHEN clock GLOB '[Tt ]${digits(6)}*' THEN 8
    WHEN clock GLOB '[Tt ]${digits(4)}*' THEN 6
    WHEN clock GLOB '[Tt ]${digits(2)}*' THEN 4 END`,
  hour: int('substr(clock, 2, 2)'),
  minute: int(`CASE clockEnd WHEN 10 THEN substr(clock, 5, 2) WHEN 7 THEN substr(clock, 5, 2)
    WHEN 8 THEN substr(clock, 4, 2) WHEN 6 THEN substr(clock, 4, 2) ELSE 0 END`),
  second: int('CASE clockEnd WHEN 10 THEN substr(clock, 8, 2) WHEN 8 THEN substr(clock, 6, 2) ELSE 0 END'),
  afterClock: 'substr(clock, clockEnd)',
  hasFraction: "clockEnd IN (8, 10) AND afterClock GLOB '[.,][0-9]*'",
  // Digits behind the milliseconds are cut off.
  fraction: `CASE WHEN hasFraction
    THEN ${int("CAST('0.' || substr(afterClock, 2, 3) AS REAL) * 1000 + 0.5")} ELSE 0 END`,
  afterFraction: "CASE WHEN hasFraction THEN ltrim(substr(afterClock, 2), '0123456789') ELSE afterClock END"
}

const zone: Record<string, string> = {
  zone: `CASE
    WHEN substr(afterFraction, 1, 4) IN (' UTC', ' GMT') THEN substr(afterFraction, 5)
    WHEN substr(afterFraction, 1, 3) IN ('UTC', 'GMT') THEN substr(afterFraction, 4)
    WHEN afterFraction GLOB ' ?*' THEN substr(afterFraction, 2) ELSE afterFraction END`,
  // Where the offset ends, and the name of the zone begins.
  offsetEnd: `CASE
    WHEN zone GLOB '[-+]${digits(2)}:${digits(2)}:${digits(2)}*' THEN 10
    WHEN zone GLOB '[-+]${digits(2)}:${digits(2)}*' THEN 7
    WHEN zone GLOB '[-+]${digits(4)}*' THEN 6
    WHEN zone GLOB '[-+]${digits(2)}*' THEN 4
    WHEN zone GLOB '[Zz]*' THEN 2 ELSE 1 END`,
  offsetHour: int('CASE WHEN offsetEnd > 2 THEN substr(zone, 2, 2) ELSE 0 END'),
  offsetMinute: int(`CASE offsetEnd WHEN 10 THEN substr(zone, 5, 2) WHEN 7 THEN substr(zone, 5, 2)
    WHEN 6 THEN substr(zone, 4, 2) ELSE 0 END`),
  offsetSecond: int('CASE offsetEnd WHEN 10 THEN substr(zone, 8, 2) ELSE 0 END'),
  zoneName: 'substr(zone, offsetEnd)',
  // The clock that Go appends.
  goClock: "instr(zoneName, ' m=')",
  // [Europe/Paris] of Java, (Central European Time) of JavaScript, ` CET m=+0.1` of Go.
  hasZoneName: `zoneName = '' OR (offsetEnd > 1 AND zoneName GLOB '[[]?*]') OR (offsetEnd > 2 AND (
    zoneName GLOB ' (?*)' OR (zoneName GLOB ' [A-Za-z0-9+-]*'
      AND substr(zoneName, 2, CASE goClock WHEN 0 THEN length(zoneName) ELSE goClock - 2 END)
        NOT GLOB '*[^A-Za-z0-9+-]*'
      AND (goClock = 0 OR substr(zoneName, goClock + 3) NOT GLOB '*[^0-9.+-]*'))))`
}

const result: Record<string, string> = {
  ms: `CASE
    WHEN whole IS NOT NULL AND dateDigits IS NULL THEN CASE
      WHEN whole < 10000000 THEN whole * 86400000 - 210866760000000 + ${int('part * 86400000 + 0.5')}
      WHEN whole < 100000000 THEN NULL
      WHEN whole < 100000000000 THEN whole * 1000 + ${int('part * 1000 + 0.5')}
      WHEN whole < 100000000000000 THEN whole + (part >= 0.5)
      ELSE whole / 1000 END
    WHEN (hour < 24 OR (hour = 24 AND minute = 0 AND second = 0 AND fraction = 0)) AND minute < 60 AND second < 60
      AND offsetHour < 24 AND offsetMinute < 60 AND offsetSecond < 60 AND hasZoneName
    THEN day * 86400000 + hour * 3600000 + minute * 60000 + second * 1000 + fraction
      - CASE substr(zone, 1, 1) WHEN '-' THEN -1 ELSE 1 END
        * (offsetHour * 3600000 + offsetMinute * 60000 + offsetSecond * 1000) END`,
  // The years that RFC 3339 can write.
  at: 'CASE WHEN ms BETWEEN -62167219200000 AND 253402300799999 THEN ms END'
}

const columns = Object.entries({ ...number, ...text, ...date, ...timeOfDay, ...zone, ...result })
  .map(([column, expression]) => `${column} GENERATED ALWAYS AS (${expression}) STORED`)

export const recordedTime = sql.raw(`
  CREATE TABLE RecordedTime (id INTEGER NOT NULL PRIMARY KEY, value,
    ${columns.join(',\n    ')})`)

/** What of a column can be a time: texts of up to 128 bytes. */
export const readable = (column: string): string =>
  `CASE WHEN length(CAST(${column} AS BLOB)) <= 128 THEN ${column} END`

/** The time in a column if it has the common form, 2026-01-31T12:00:00.000Z; else null. */
export const commonTime = (column: string): string =>
  `CASE WHEN strftime('%Y-%m-%dT%H:%M:%fZ', ${column}) = ${column} COLLATE BINARY
    THEN CAST(strftime('%s', ${column}) AS INTEGER) * 1000 + CAST(substr(${column}, 21, 3) AS INTEGER) END`
