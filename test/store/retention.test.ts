import t, { type Test } from 'tap'
import { createRetentionReader } from '../../src/store/sqlite/retention-reader.ts'
import { findDueResults, pruneOrphans, pruneRecords, pruneTombstones, type RecordCursor } from '../../src/store/tx/retention.ts'
import type { Origin } from '../../src/store/store.ts'
import { pruneIdempotencyKeys } from '../../src/store/tx/idempotency.ts'
import { insertJob } from '../../src/store/tx/jobs.ts'
import { appendChunk } from '../../src/store/tx/results.ts'
import { failedJob, runningJob, succeededJob } from './jobs.ts'
import { openForeign, openStore } from './open.ts'

const hour = 3_600_000
const end = Date.UTC(2026, 0, 31, 12)
const iso = (ms: number) => new Date(ms).toISOString()

const open = async (t: Test) => {
  const opened = await openStore(t)
  const foreign = openForeign(t, opened.path)
  foreign.pragma('synchronous = OFF')
  return {
    ...opened,
    foreign,
    look: createRetentionReader(opened),
    /** The ids that are left. */
    left: () => foreign.prepare('SELECT jobId FROM JobExecutionLog ORDER BY jobId').pluck().all(),
    count: (from: string) => foreign.prepare(`SELECT count(*) FROM ${from}`).pluck().get()
  }
}

/** One whole pass over the records of an origin, `limit` at a time. */
const prunePass = async ({ transact }: Awaited<ReturnType<typeof open>>, origin: Origin, before: number, limit: number) => {
  let total = 0
  let looked = 0
  let batches = 0
  for (let cursor: RecordCursor | null = null; ;) {
    const batch = await transact(tx => pruneRecords(tx, origin, before, limit, cursor))
    if (batch.examined > limit) throw new Error(`${batch.examined} rows at once`)
    batches++
    total += batch.removed
    looked += batch.examined
    cursor = batch.next
    if (cursor === null) return { total, looked, batches }
  }
}

t.test('records of ours go when they ended before, and no others', async t => {
  const store = await open(t)
  await store.transact(async tx => {
    await insertJob(tx, succeededJob('old', { finishedAt: end - 1 }))
    await insertJob(tx, failedJob('old-too', { finishedAt: end - hour }))
    await insertJob(tx, succeededJob('exact', { finishedAt: end }))
    await insertJob(tx, failedJob('young', { finishedAt: end + 1 }))
    await insertJob(tx, runningJob('runs', { createdAt: end - 10 * hour }))
    await insertJob(tx, succeededJob('endless', { createdAt: end - 1, finishedAt: null }))
  })
  store.foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES ('theirs', 'Failed', '${iso(end - hour)}')`)
  t.same([await store.look.hasDueRecords('ours', end), await store.look.hasDueRecords('ours', end - hour)], [true, false])
  t.match(await store.transact(tx => pruneRecords(tx, 'ours', end, 2, null)), { examined: 2, removed: 2 })
  t.match(await prunePass(store, 'ours', end, 2), { total: 1 })
  t.same(store.left(), ['exact', 'runs', 'theirs', 'young'])
  t.equal(await store.look.hasDueRecords('ours', end), false)
  t.match(await store.store.jobs.find('old'), { kind: 'tombstone', tombstone: { tenant: 'acme' } })
})

// What others write for one instant, and near it. `due`: it ended before.
const forms: Array<[endTime: string | null, due: boolean, why: string]> = [
  ['2026-01-31T11:59:59.999Z', true, 'our own form'],
  ['2026-01-31 11:59:59', true, 'a space'],
  ['2026-01-31T13:59:59+02:00', true, 'an offset that sorts late'],
  ['2026-01-31T06:59:59-05:00', true, 'an offset that sorts early'],
  ['2026-01-30', true, 'a date'],
  ['2020-W01-1', true, 'a week date'],
  ['20200131T120000Z', true, 'the basic form'],
  ['2026-01-31T12:00:00Z', false, 'the very instant'],
  ['2026-01-31 12:00:01', false, 'a space, which sorts before T'],
  ['2026-01-31T11:30:00-05:00', false, 'an offset that sorts before'],
  ['', false, 'nothing'],
  ['1769860000', false, 'no time that can be read'],
  ['soon', false, 'no time at all'],
  ['-0001', false, 'nor this']
]

t.test('what counts is the time that a record tells, in whatever form it was written', async t => {
  for (const origin of ['ours', 'foreign'] as const) {
    for (const limit of [1, 3, 100]) {
      await t.test(`${origin}, ${limit} at a time`, async t => {
        const store = await open(t)
        const insert = store.foreign.prepare('INSERT INTO JobExecutionLog (jobId, status, submittedBy, createdAt, endTime) VALUES (?, ?, ?, ?, ?)')
        const by = origin === 'ours' ? 'alice' : null
        for (const [number, [endTime]] of forms.entries()) insert.run(`j${number}`, 'Failed', by, iso(end), endTime)
        insert.run('no-end-old', 'Succeeded', by, iso(end - hour), null)
        insert.run('no-end', 'Succeeded', by, iso(end + hour), null)
        insert.run('runs', 'Running', by, iso(end - hour), null)
        insert.run('other', 'Failed', origin === 'ours' ? null : 'alice', iso(end - hour), iso(end - hour))
        await prunePass(store, origin, end, limit)
        const early = store.left()
        for (const [number, [endTime, due, why]] of forms.entries()) {
          if (!due) t.ok(early.includes(`j${number}`), `kept: ${endTime}, ${why}`)
        }
        t.ok(['no-end', 'runs', 'other'].every(jobId => early.includes(jobId)))
        t.notOk(early.includes('no-end-old'))
        // A year later nothing is left that can be read.
        await prunePass(store, origin, end + 400 * 24 * hour, limit)
        const late = store.left()
        for (const [number, [endTime, , why]] of forms.entries()) {
          t.equal(late.includes(`j${number}`), /^(|1769860000|soon|-0001)$/.test(endTime ?? ''), `in the end: ${endTime}, ${why}`)
        }
        t.same(late.filter(jobId => !/^j/.test(String(jobId))), ['other', 'runs'])
      })
    }
  }
})

t.test('records that are passed over are looked at once in a pass, however many ended at one time', async t => {
  const store = await open(t)
  store.foreign.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO JobExecutionLog (jobId, status, endTime) SELECT 'odd-' || i, 'Failed', '' FROM n
    UNION ALL SELECT 'due-' || i, 'Failed', '2020-01-01T00:00:00Z' FROM n`)
  t.same(await prunePass(store, 'foreign', end, 50), { total: 500, looked: 1000, batches: 21 })
  t.equal(store.count("JobExecutionLog WHERE endTime = ''"), 500)
})

t.test('results are due at their time, oldest first, and only ours', async t => {
  const { transact, foreign, look } = await open(t)
  await transact(async tx => {
    for (const [jobId, expiresAt] of [['b', end], ['a', end - 1], ['late', end + 1]] as const) await insertJob(tx, succeededJob(jobId, { expiresAt }))
    await insertJob(tx, succeededJob('gone', { expiresAt: end - 2, resultExpiredAt: end - 1 }))
    await insertJob(tx, succeededJob('none'))
  })
  foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, expiresAt) VALUES ('theirs', 'Succeeded', '${iso(end - 5)}')`)
  t.same(await transact(tx => findDueResults(tx, end, 10)), ['a', 'b'])
  t.same(await transact(tx => findDueResults(tx, end, 1)), ['a'])
  t.same([await look.hasDueResults(end - 2), await look.hasDueResults(end - 1)], [false, true])
})

t.test('a tombstone that is forgotten is a change, so that no cache tells of it any longer', async t => {
  const { transact, foreign, look, changeLog, store, count } = await open(t)
  foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Failed'), ('b', 'Failed'), ('c', 'Queued'); DELETE FROM JobExecutionLog")
  foreign.exec(`UPDATE JobTombstone SET expiredAt = '${iso(end)}' WHERE jobId = 'a'`)
  foreign.exec(`UPDATE JobTombstone SET expiredAt = '${iso(end + 1)}' WHERE jobId = 'b'`)
  const head = changeLog.head()
  t.equal(await look.hasDueTombstones(end), false)
  t.equal(await transact(tx => pruneTombstones(tx, end, 10)), 0)
  t.equal(await look.hasDueTombstones(end + 1), true)
  t.equal(await transact(tx => pruneTombstones(tx, end + 1, 10)), 1)
  t.same(changeLog.after(head, 10), [{ version: head + 1, jobId: 'a' }])
  t.equal((await store.jobs.find('a')).kind, 'absent')
  t.equal(await transact(tx => pruneTombstones(tx, Date.now() + hour, 1)), 1, 'no more than asked')
  t.equal(count('JobTombstone'), 1)
  foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued')")
  t.match(await store.jobs.find('a'), { job: { state: 'queued', version: head + 3 } }, 'and the id is free, with a later version')
})

t.test('bytes that nobody refers to go in portions, and then the note of them', async t => {
  const { transact, look, count, foreign } = await open(t)
  for (let offset = 0; offset < 70; offset += 10) await transact(tx => appendChunk(tx, 'j', offset, Buffer.alloc(10)))
  await transact(tx => appendChunk(tx, 'live', 0, Buffer.alloc(10)))
  foreign.exec("INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'j', 100), ('JobInputChunk', 'empty', 200)")
  t.equal(await look.hasOrphans(99), false)
  t.equal(await transact(tx => pruneOrphans(tx, 99, 3)), 0)
  t.equal(await look.hasOrphans(100), true)
  t.equal(await transact(tx => pruneOrphans(tx, 100, 3)), 3)
  t.same([count('JobResultChunk'), count('OrphanedBytes')], [5, 2], 'the rest is found by the next one')
  t.equal(await transact(tx => pruneOrphans(tx, 100, 3)), 3)
  t.equal(await transact(tx => pruneOrphans(tx, 100, 3)), 2)
  t.same([count('JobResultChunk'), count('OrphanedBytes')], [1, 1], 'what is alive stays')
  t.equal(await transact(tx => pruneOrphans(tx, 200, 3)), 1, 'a note of nothing is done with, too')
  t.equal(await transact(tx => pruneOrphans(tx, 200, 3)), 0)
})

t.test('a portion that ends with the last chunk leaves a note that the next one finds', async t => {
  const { transact, count, foreign } = await open(t)
  await transact(tx => appendChunk(tx, 'j', 0, Buffer.alloc(10)))
  foreign.exec("INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'j', 0)")
  t.equal(await transact(tx => pruneOrphans(tx, 0, 1)), 1)
  t.equal(await transact(tx => pruneOrphans(tx, 0, 1)), 1)
  t.same([count('JobResultChunk'), count('OrphanedBytes')], [0, 0])
})

t.test('old changes and keys are looked for before a lock is taken', async t => {
  const { transact, look, foreign, store } = await open(t)
  t.same([await look.hasOldChanges(Infinity), await look.hasOldIdempotencyKeys(Infinity)], [false, false])
  foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Queued'); UPDATE JobChange SET at = version * 100")
  foreign.exec("INSERT INTO IdempotencyKey (tenant, key, requestHash, jobId, createdAt) VALUES ('t', 'k', 'h', 'j', 100)")
  t.same([await look.hasOldChanges(100), await look.hasOldIdempotencyKeys(100)], [false, false])
  t.same([await look.hasOldChanges(101), await look.hasOldIdempotencyKeys(101)], [true, true])
  t.equal(await transact(tx => store.changes.prune(tx, 101, 10)), 1)
  t.equal(await transact(tx => pruneIdempotencyKeys(tx, 101, 10)), 1)
  t.same([await look.hasOldChanges(101), await look.hasOldIdempotencyKeys(101)], [false, false])
})
