import fc from 'fast-check'
import { DateTime } from 'luxon'
import t, { type Test } from 'tap'
import { toEpochMs, toTime } from '../../../src/job/time.ts'
import { sqlite3 } from '../../helpers/databases.ts'
import { makeForeignDatabase } from './migrations/adopted.ts'
import { anyDamaged, anyInstant, anyNotation, anyRecorded, exact, toSeconds } from '../notations.ts'
import { openForeign, openStore } from '../open.ts'

/*
 * A time is read in two places: in TypeScript for the views and reports, and in SQL for the order of the lists, their
 * filters and the pruner. Both read the same, whatever another program has written.
 */

t.test('reads the notations of engines, drivers and ORMs', async t => {
  for (const [name, notation] of Object.entries(exact)) {
    t.doesNotThrow(() => fc.assert(fc.property(anyInstant, ms => toTime(notation(ms)) === ms), { numRuns: 10 }), name)
  }
  for (const [name, notation] of Object.entries(toSeconds)) {
    t.doesNotThrow(() => fc.assert(fc.property(
      anyInstant, ms => toTime(notation(ms)) === ms - ms % 1000), { numRuns: 10 }), name)
  }
  const julianDay = (ms: number) => ms / 86_400_000 + 2_440_587.5
  t.doesNotThrow(() => fc.assert(fc.property(anyInstant, ms =>
    toTime(julianDay(ms)) === ms && toTime(ms / 1000) === ms && toTime(String(ms / 1000)) === ms)))
})

t.test('a number means the same as text, in its own form or in that of SQLite', async t => {
  const same: Array<[number, ...string[]]> = [
    [20260301, '20260301', '20260301.0'], [2026060, '2026060'], [2461100.5, '2461100.5', '2461100.50000000'],
    [2461101, '2461101', '2461101.0'], [1772359200, '1772359200', '1772359200.0'], [1772359200.5, '1772359200.500'],
    [1772359200123, '1772359200123', '1772359200123.0'],
    [1772359200123456, '1772359200123456', '1.77235920012346e+15', '1.772359200123456e+15'],
    [17723592001234560, '17723592001234560', '1.77235920012346e+16']
  ]
  for (const [number, ...texts] of same) {
    t.type(toTime(number), 'number', String(number))
    for (const text of texts) t.equal(toTime(text), toTime(number), text)
  }
})

t.test('what is no time is null, and never another time', async t => {
  const invalid: unknown[] = [
    '', ' ', 0, -1, 42, 2026, '2026', '2026-03', NaN, Infinity, -Infinity, 1e17, 1.7e18, 12345678, 20261301.5,
    '20261301', '-1772359200', '1772359200e1', '1772359200.5e1', '1.7e+9', '1.e+15', '123456789012345678',
    '1772359200.x', '.5', '1.2.3', '0x69a3', 'true', 'now', 'soon', '10:00', '2026-03-01 now', '03/01/2026 10:00:00',
    '01.03.2026', '2026-3-1', '2026-02-29', '2026-03-01T10:60', '2026-03-01T24:00:01', '2026-03-01T10:00:00+24',
    '2026-03-01T10:00:00 PST', '2026-03-01T10:00:00+01:00[', '2026-03-01 10:00:00 +0100 CET m=x',
    '2026-03-01 10:00:00 +0100 C T', '2026-03-01T10:00:00 ', '2026-03-01Z', '2026-W54-1', '2026-366',
    '31 Feb 2026 10:00', 'Sun, 01 Mrz 2026 10:00:00 GMT', '2026-03-01T10:00:00Z\0', '2026-03-01T10:00:00+01:00[\0]',
    '٢٠٢٦-٠٣-٠١', `2026-03-01T10:00Z[${'x'.repeat(128)}]`, true, 1n, Buffer.from('2026-03-01'), new Date(), {}
  ]
  for (const value of invalid) t.equal(toTime(value), null, String(value))
  t.equal(toTime('0000-01-01T00:00:00Z'), Date.parse('0000-01-01T00:00:00Z'))
  t.equal(toTime('0000-01-01T00:00:00+00:01'), null)
  t.equal(toTime('9999-12-31T23:59:59.999-00:01'), null)
})

t.test('reads ISO 8601 as Luxon does', async t => {
  const two = (value: number): string => String(value).padStart(2, '0')
  const three = (value: number): string => String(value).padStart(3, '0')
  const part = fc.constantFrom('00', '01', '07', '12', '23', '24', '31', '53', '59', '60', '365')
  const dayOfYear = fc.integer({ min: 0, max: 400 }).map(three)
  const week = fc.integer({ min: 0, max: 54 }).map(two)
  const weekday = fc.integer({ min: 0, max: 8 })
  const iso = fc.tuple(
    fc.constantFrom('2026', '2024', '2020', '1900', '2000', '1904'),
    fc.oneof(
      fc.tuple(part, part).map(([month, day]) => `-${month}-${day}`), fc.tuple(part, part).map(parts => parts.join('')),
      dayOfYear.map(day => `-${day}`), dayOfYear,
      fc.tuple(week, weekday).map(([week, day]) => `-W${week}-${day}`),
      fc.tuple(week, weekday).map(([week, day]) => `W${week}${day}`)
    ),
    fc.oneof(
      fc.constant(''), fc.tuple(part, part, part).map(parts => `T${parts.join(':')}`),
      fc.tuple(part, part).map(parts => `T${parts.join('')}`)
    ),
    fc.constantFrom('', '.5', ',123456'), fc.constantFrom('', 'Z', '+01', '-0530', '+23:59')
  ).map(parts => parts.join(''))
  t.doesNotThrow(() => fc.assert(fc.property(iso, text => {
    const time = DateTime.fromISO(text, { zone: 'utc' })
    return toEpochMs(text) === (time.isValid ? time.toMillis() : null)
  }), { numRuns: 1000 }))
})

const adoptedWith = (affinity: string) => (t: Test) => openStore(t, makeForeignDatabase(t, `
  CREATE TABLE JobExecutionLog (jobId TEXT PRIMARY KEY, status TEXT, createdAt ${affinity}, endTime ${affinity})`))

const kinds: Record<string, (t: Test) => ReturnType<typeof openStore>> = {
  "the service's own table": openStore,
  'an adopted table without types': adoptedWith(''),
  'an adopted table of dates (NUMERIC)': adoptedWith('DATETIME'),
  'an adopted table of real numbers': adoptedWith('REAL'),
  'an adopted table of texts that ignore case': adoptedWith('TEXT COLLATE NOCASE')
}

type Row = { createdAt: unknown, endTime: unknown, createdMs: number, endedMs: number | null }

for (const [kind, open] of Object.entries(kinds)) {
  t.test(`the columns that lists and the pruner search hold what the views read, in ${kind}`, async t => {
    const { path } = await open(t)
    const foreign = openForeign(t, path, 'recursive_triggers = ON')
    const insert = foreign.prepare(
      'INSERT INTO JobExecutionLog (jobId, status, createdAt, endTime) VALUES (?, ?, ?, ?)')
    const update = foreign.prepare('UPDATE JobExecutionLog SET createdAt = ?, endTime = ? WHERE jobId = ?')
    const find = foreign.prepare<[string], Row>(
      'SELECT createdAt AS createdAt, endTime AS endTime, createdMs, endedMs FROM JobExecutionLog WHERE jobId = ?')
    const check = (jobId: string, since: number, unreadable: number | null) => {
      const { createdAt, endTime, createdMs, endedMs } = find.get(jobId) as Row
      const created = toTime(createdAt)
      const isInserted = unreadable === null ? createdMs >= since && createdMs <= Date.now() : createdMs === unreadable
      if (created === null ? !isInserted : createdMs !== created) {
        throw new Error(`createdAt ${JSON.stringify(createdAt)} is ${createdMs}, not ${created}`)
      }
      const ended = endTime === null || endTime === '' ? createdMs : toTime(endTime)
      if (endedMs !== ended) throw new Error(`endTime ${JSON.stringify(endTime)} is ${endedMs}, not ${ended}`)
      return createdMs
    }
    let count = 0
    fc.assert(fc.property(fc.array(fc.tuple(anyRecorded, anyRecorded), { minLength: 20, maxLength: 60 }), rows => {
      const since = Date.now()
      foreign.exec('BEGIN')
      try {
        for (const [first, second] of rows) {
          const jobId = `j-${++count}`
          insert.run(jobId, 'Failed', first, second)
          const createdMs = check(jobId, since, null)
          update.run(second, first, jobId)
          check(jobId, since, second === null ? null : createdMs)
        }
      } finally {
        foreign.exec('ROLLBACK')
      }
    }), { numRuns: 15 })
    t.pass(`${count} rows`)
  })
}

t.test('a program that writes the numbers itself is corrected, or rejected where nothing corrects it', async t => {
  const { path, changeLog } = await openStore(t)
  const foreign = openForeign(t, path, 'recursive_triggers = ON')
  const numbers = foreign.prepare('SELECT createdMs, endedMs FROM JobExecutionLog WHERE jobId = ?').raw()
  foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, createdAt, endTime, createdMs, endedMs) VALUES
    ('a', 'Failed', '2026-03-01 10:00:00+01', '20260301T110000Z', 5, 7), ('b', 'Failed', 'soon', 'later', 5, 7)`)
  const head = changeLog.head()
  const at = Date.UTC(2026, 2, 1, 9)
  t.same(numbers.get('a'), [at, at + 7_200_000])
  const [created] = numbers.get('b') as [number]
  t.ok(created > Date.now() - 60_000)
  foreign.exec("UPDATE JobExecutionLog SET createdMs = 5, endedMs = NULL WHERE jobId = 'a'")
  t.same(numbers.get('a'), [at, at + 7_200_000])
  foreign.exec("UPDATE JobExecutionLog SET createdMs = NULL, endedMs = 9 WHERE jobId = 'b'")
  t.same(numbers.get('b'), [created, null])
  const overwrite = () => foreign.exec("UPDATE JobExecutionLog SET createdMs = 5 WHERE jobId = 'b'")
  t.throws(overwrite, /createdMs is never changed/)
  foreign.exec(`UPDATE JobExecutionLog SET createdMs = ${created}, endTime = '' WHERE jobId = 'b'`)
  t.same(numbers.get('b'), [created, created])
  t.equal(changeLog.head(), head + 1, 'the endTime alone is a change')
})

t.test('the oldest SQLite at hand reads the same', async t => {
  const { path } = await openStore(t)
  const values = fc.sample(fc.oneof(anyNotation, anyDamaged.filter(text => !text.includes('\0'))), 200)
  const rows = values.map((value, at) => `('j-${at}', 'Failed', '${String(value).replaceAll("'", "''")}')`)
  await sqlite3(path, `INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES ${rows.join()}`)
  const read = openForeign(t, path).prepare(
    "SELECT endTime AS endTime, endedMs FROM JobExecutionLog WHERE endTime <> ''").all() as Row[]
  for (const { endTime, endedMs } of read) t.equal(endedMs, toTime(endTime), JSON.stringify(endTime))
})
