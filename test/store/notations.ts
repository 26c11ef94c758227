import fc from 'fast-check'
import { DateTime } from 'luxon'
import { toIso } from '../../src/job/time.ts'
import { anyCodePoint } from '../helpers/any-text.ts'

const two = (value: number): string => String(value).padStart(2, '0')

/** How programs write an instant (whole milliseconds), and what a precision below that leaves of it. */
type Notation = (ms: number) => string | number

const utc = (ms: number) => DateTime.fromMillis(ms, { zone: 'utc' })
const zoneOf = (minutes: number) => {
  const [sign, of] = [minutes < 0 ? '-' : '+', Math.abs(minutes)]
  return minutes === 0 ? 'utc' : `UTC${sign}${Math.trunc(of / 60)}:${two(of % 60)}`
}
const formatted = (format: string, minutes = 0): Notation => ms => utc(ms).setZone(zoneOf(minutes)).toFormat(format)

/** Those that keep the milliseconds. */
export const exact: Record<string, Notation> = {
  'this service, JavaScript': toIso,
  'Prisma, chrono': formatted("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", 60),
  'Python, Django, SQLAlchemy, Rails': formatted("yyyy-MM-dd HH:mm:ss.SSS'456'"),
  'Python with a zone': formatted("yyyy-MM-dd HH:mm:ss.SSS'456'ZZ", -570),
  'Python with a zone of seconds': ms => `${utc(ms + 3_661_000).toFormat('yyyy-MM-dd HH:mm:ss.SSS')}+01:01:01`,
  'JDBC, TypeORM, GRDB': formatted('yyyy-MM-dd HH:mm:ss.SSS'),
  'JDBC in milliseconds, knex, Drizzle': ms => ms,
  'mattn/go-sqlite3': formatted("yyyy-MM-dd HH:mm:ss.SSS'999999'ZZ", 120),
  'modernc.org/sqlite': formatted("yyyy-MM-dd HH:mm:ss.SSS'123456' ZZZ 'CET m=+0.000012345'", 60),
  'Go in UTC': formatted("yyyy-MM-dd HH:mm:ss.SSS ZZZ 'UTC'"),
  'Go in a zone without a name': formatted("yyyy-MM-dd HH:mm:ss.SSS ZZZ '+03'", 180),
  Sequelize: formatted('yyyy-MM-dd HH:mm:ss.SSS ZZ'),
  'Sequel of Ruby': formatted("yyyy-MM-dd HH:mm:ss.SSS'000'ZZZ", -480),
  'Microsoft.Data.Sqlite': formatted("yyyy-MM-dd HH:mm:ss.SSS'1234'"),
  'System.Data.SQLite': formatted("yyyy-MM-dd HH:mm:ss.SSS'1234Z'"),
  'ISO basic': formatted("yyyyMMdd'T'HHmmss.SSSZZZ", 330),
  'ISO with a comma': formatted("yyyy-MM-dd't'HH:mm:ss,SSS'z'"),
  'ISO week': formatted("kkkk-'W'WW-c'T'HH:mm:ss.SSS"),
  'ISO week, basic': formatted("kkkk'W'WWc'T'HHmmss.SSS'Z'"),
  'ISO day of the year': formatted("yyyy-ooo'T'HH:mm:ss.SSSZZ", 60),
  'ISO day of the year, basic': formatted("yyyyooo'T'HHmmss.SSS"),
  'ISO, six digits': formatted("'+00'yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"),
  'java.time with a zone': formatted("yyyy-MM-dd'T'HH:mm:ss.SSSZZ'[Europe/Paris]'", 60),
  'Temporal of JavaScript': formatted("yyyy-MM-dd'T'HH:mm:ss.SSS'Z[UTC]'"),
  microseconds: ms => ms * 1000 + 999
}

/** Those that cut an instant to seconds. */
export const toSeconds: Record<string, Notation> = {
  'datetime() of SQLite': formatted('yyyy-MM-dd HH:mm:ss'),
  'Ruby, Time#to_s': formatted("yyyy-MM-dd HH:mm:ss 'UTC'"),
  Postgres: formatted("yyyy-MM-dd HH:mm:ss'+00'"),
  HTTP: ms => new Date(ms).toUTCString(),
  'RFC 5322': formatted('d LLL yyyy HH:mm:ss ZZZ', -420),
  'JavaScript, Date#toString': formatted("ccc LLL dd yyyy HH:mm:ss 'GMT'ZZZ '(Mitteleuropäische Normalzeit)'", 60),
  'unixepoch() of SQLite': ms => Math.floor(ms / 1000)
}

// Seconds and milliseconds since 1970 are apart only after March 1973.
export const anyInstant = fc.integer({ min: Date.UTC(1973, 3), max: Date.UTC(2099, 0) })

// Parts of every notation, so that junk comes close to what is read.
const fragments = [
  ...'0123456789-:+.,TtZzW[]() /', '2026', '03', '01', '2026-03-01', '20260301', '2026-060', 'W09', '10:00:00',
  '100000', ' 10:00', '.123', '+01:00', '-0530', 'GMT', 'UTC', ' CET', ' m=+0.1', 'Sun, ', 'Sun Mar 01 2026 ',
  '01 Mar 2026 ', 'Mar', 'e+15', '1772359200', '000', 'é', '\0', '😀'
]
export const anyNotation = fc.tuple(anyInstant, fc.constantFrom(...Object.values(exact), ...Object.values(toSeconds)))
  .map(([ms, notation]) => notation(ms))
/** The same with a piece of another in it. */
export const anyDamaged = fc.tuple(anyNotation, fc.nat(40), fc.nat(2), fc.constantFrom('', ...fragments))
  .map(([value, at, count, piece]) => {
    const text = String(value)
    return text.slice(0, at) + piece + text.slice(at + count)
  })
const anyNumber = fc.oneof(
  fc.double(), fc.double({ min: 0, max: 1e17 }), fc.integer({ min: -1, max: 400_000_000 }), fc.maxSafeNat(),
  fc.tuple(fc.nat(18), fc.double({ min: -2, max: 2 })).map(([power, more]) => 10 ** power + more),
  fc.double({ min: 1_721_050, max: 5_373_500 }), fc.integer({ min: 1_000_000, max: 2_500_000 })
)
/** What a column for times may hold. */
export const anyRecorded: fc.Arbitrary<string | number | bigint | null> = fc.oneof(
  { weight: 3, arbitrary: anyNotation }, { weight: 4, arbitrary: anyDamaged },
  { weight: 3, arbitrary: fc.array(fc.constantFrom(...fragments), { maxLength: 8 }).map(parts => parts.join('')) },
  { weight: 3, arbitrary: anyNumber }, { weight: 1, arbitrary: anyNumber.map(String) },
  fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), fc.string({ unit: anyCodePoint }), fc.constant(null)
)
