import fc from 'fast-check'
import t from 'tap'
import { toTime } from '../../../src/job/time.ts'
import { anyRecorded } from '../notations.ts'
import { startMigrated } from './migrated.ts'

const { open } = await startMigrated(t)

type Row = { createdat: string, endtime: string | null, createdms: number, endedms: number | null }

// Postgres has no NUL in a text, and no half of a surrogate pair.
const anyText = anyRecorded.map(value => value === null ? null : String(value).toWellFormed().replaceAll('\0', ''))

t.test('the columns that lists and the pruner search hold what the views read', async t => {
  const { run, rows } = await open(t)
  const found = 'RETURNING createdAt, endTime, createdMs, endedMs'
  const check = ({ createdat, endtime, createdms, endedms }: Row, unreadable: (createdMs: number) => boolean) => {
    const created = toTime(createdat)
    if (created === null ? !unreadable(createdms) : createdms !== created) {
      throw new Error(`createdAt ${JSON.stringify(createdat)} is ${createdms}, not ${created}`)
    }
    const ended = endtime === null || endtime === '' ? createdms : toTime(endtime)
    if (endedms !== ended) throw new Error(`endTime ${JSON.stringify(endtime)} is ${endedms}, not ${ended}`)
  }
  let count = 0
  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(anyText, anyText), { minLength: 100, maxLength: 300 }), async pairs => {
    const since = Date.now() - 1
    await run('BEGIN')
    const inserted = await rows(`
      INSERT INTO JobExecutionLog (jobId, status, createdAt, endTime)
      SELECT 'j-' || place, 'Failed', created, ended
      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS pair (created, ended, place) ${found}, jobId`,
    [pairs.map(([first]) => first), pairs.map(([, second]) => second)]) as Array<Row & { jobid: string }>
    for (const row of inserted) check(row, createdMs => createdMs >= since && createdMs <= Date.now())
    const before = new Map(inserted.map(({ jobid, createdms }) => [jobid, createdms]))
    const updated = await rows(`
      UPDATE JobExecutionLog SET createdAt = endTime, endTime = createdAt ${found}, jobId`) as Array<Row & { jobid: string }>
    for (const row of updated) check(row, createdMs => createdMs === before.get(row.jobid))
    await run('ROLLBACK')
    count += updated.length
  }), { numRuns: 15 })
  t.ok(count > 1000, `${count} rows`)
})

t.test('reads what a program assigns from its own types, whatever the time zone of its session', async t => {
  const { run, rows } = await open(t)
  const at = '2026-03-01 10:00:00.123+00'
  const ms = Date.UTC(2026, 2, 1, 10, 0, 0, 123)
  for (const zone of ['UTC', 'Asia/Kolkata', 'America/St_Johns', 'Pacific/Apia']) {
    await run(`SET TimeZone = '${zone}'; DELETE FROM JobExecutionLog`)
    await run(`INSERT INTO JobExecutionLog (jobId, status, createdAt, startTime, endTime) VALUES
      ('a', 'Failed', '${at}'::timestamptz, now(), '${at}'::timestamptz AT TIME ZONE 'UTC'),
      ('b', 'Failed', extract(epoch FROM '${at}'::timestamptz), now(), extract(epoch FROM '${at}'::timestamptz)::float8),
      ('c', 'Failed', ${ms}, now(), ${ms}::bigint),
      ('d', 'Failed', '2026-03-01'::date, now(), ${ms * 1000 + 456}::float8)`)
    const read = await rows('SELECT createdMs, endedMs, startTime FROM JobExecutionLog ORDER BY jobId') as Array<Row & { starttime: string }>
    t.same(read.map(({ createdms, endedms }) => [createdms, endedms]), [
      [ms, ms], [ms, ms], [ms, ms], [Date.UTC(2026, 2, 1), ms]
    ], zone)
    for (const { starttime } of read) t.ok(Math.abs((toTime(starttime) ?? 0) - Date.now()) < 60_000, starttime)
  }
})

t.test('settings of a session change neither how times are read nor how they are filled in', async t => {
  const { run, rows } = await open(t)
  await run(`SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard';
    SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = off;
    SET lc_time = 'C'; SET extra_float_digits = -15; SET bytea_output = 'escape'`)
  const times = [
    '2026-03-01T10:00:00.123Z', '20260301T100000,123', 'Sun Mar 01 2026 11:00:00 GMT+0100 (CET)', '2026-W09-7 10:00',
    '2026-03-01T10:00:00.123+00:00[UTC]', '1.772359200123e+15', '1772359200.123', '2026-03-01 10:00:00 +0100 CET m=+0.1'
  ]
  for (const time of times) {
    await run(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone;
      INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES ('a', 'Failed', '${time}')`)
    const [row] = await rows('SELECT createdAt, createdMs, endedMs FROM JobExecutionLog') as Row[]
    t.equal(row?.endedms, toTime(time), time)
    t.match(row?.createdat, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    t.equal(row?.createdms, toTime(row?.createdat))
    t.ok(Math.abs((row?.createdms ?? 0) - Date.now()) < 60_000)
  }
})

t.test('a program that writes the numbers itself is corrected', async t => {
  const { run, rows, value } = await open(t)
  const numbers = async (jobId: string) =>
    Object.values((await rows('SELECT createdMs, endedMs FROM JobExecutionLog WHERE jobId = $1', [jobId]))[0] ?? {})
  await run(`INSERT INTO JobExecutionLog (jobId, status, createdAt, endTime, createdMs, endedMs) VALUES
    ('a', 'Failed', '2026-03-01 10:00:00+01', '20260301T110000Z', 5, 7), ('b', 'Failed', 'soon', 'later', 5, 7)`)
  const changes = () => value('SELECT count(*) FROM JobChange')
  const at = Date.UTC(2026, 2, 1, 9)
  t.same(await numbers('a'), [at, at + 7_200_000])
  const [created] = await numbers('b') as [number]
  t.ok(created > Date.now() - 60_000)
  await run("UPDATE JobExecutionLog SET createdMs = 5, endedMs = NULL WHERE jobId = 'a'")
  t.same(await numbers('a'), [at, at + 7_200_000])
  await run("UPDATE JobExecutionLog SET createdMs = NULL, endedMs = 9 WHERE jobId = 'b'")
  t.same(await numbers('b'), [created, null])
  t.equal(await changes(), 2)
  await run("UPDATE JobExecutionLog SET createdMs = 5, createdAt = 'later', endTime = '' WHERE jobId = 'b'")
  t.same(await numbers('b'), [created, created])
  t.equal(await changes(), 3)
  await run("UPDATE JobExecutionLog SET createdAt = NULL, endTime = NULL WHERE jobId = 'a'")
  const [filled, ended] = await numbers('a') as [number, number]
  t.ok(filled > Date.now() - 60_000 && filled === ended, 'a creation time is filled in again')
})
