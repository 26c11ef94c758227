import type { Test } from 'tap'
import type { Origin, Store } from '../../../src/store/store.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { appendBytes } from '../../../src/store/tx/results.ts'
import {
  findDueResults, pruneOrphans, pruneRecords, pruneTombstones, type RecordCursor
} from '../../../src/store/tx/retention.ts'
import { failedJob, runningJob, succeededJob } from '../jobs.ts'
import { type Conformance, type OpenStoreUnderTest, versionOf } from './store-under-test.ts'

const hour = 3_600_000
const end = Date.UTC(2026, 0, 31, 12)
const iso = (ms: number) => new Date(ms).toISOString()

const openRetention = async (t: Test, open: OpenStoreUnderTest) => {
  const opened = await open(t)
  return {
    ...opened,
    ...opened.store,
    /** Those of these jobs that still have a record. */
    left: async (...jobIds: string[]) => {
      const lookups = await Promise.all(jobIds.map(opened.store.jobs.find))
      return jobIds.filter((_, index) => lookups[index]?.kind === 'job')
    }
  }
}

/** Prunes the records of an origin in one whole pass, `limit` at a time. */
const prunePass = async ({ transact }: Store, origin: Origin, before: number, limit: number) => {
  const pass = { removed: 0, examined: 0, batches: 0 }
  for (let cursor: RecordCursor | null = null; ;) {
    const { removed, examined, next } = await transact(tx => pruneRecords(tx, origin, before, limit, cursor))
    if (examined > limit) throw new Error(`${examined} rows at once`)
    pass.batches++
    pass.removed += removed
    pass.examined += examined
    cursor = next
    if (cursor === null) return pass
  }
}

// One instant, and times near it, as other programs write them. `isDue`: it ended before.
const forms: Array<[endTime: string, isDue: boolean, what: string]> = [
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
  ['1769860000', true, 'seconds since 1970'],
  ['Sat, 31 Jan 2026 11:59:59 GMT', true, 'a date of HTTP'],
  ['', false, 'nothing, so that the creation counts'],
  ['soon', false, 'no time at all'],
  ['-0001', false, 'nor this']
]

const recordsConformance: Conformance = (t, open) => {
  t.test('prunes records of ours that ended before a time, and no others', async t => {
    const { store, transact, sql, left, retention, jobs } = await openRetention(t, open)
    await transact(async tx => {
      await insertJob(tx, succeededJob('old', { finishedAt: end - 1 }))
      await insertJob(tx, failedJob('old-too', { finishedAt: end - hour }))
      await insertJob(tx, succeededJob('exact', { finishedAt: end }))
      await insertJob(tx, failedJob('young', { finishedAt: end + 1 }))
      await insertJob(tx, runningJob('runs', { createdAt: end - 10 * hour }))
      await insertJob(tx, succeededJob('endless', { createdAt: end - 1, finishedAt: null }))
    })
    await sql(`INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES ('theirs', 'Failed', '${iso(end - hour)}')`)
    t.same([await retention.hasDueRecords('ours', end), await retention.hasDueRecords('ours', end - hour)], [
      true, false
    ])
    t.match(await transact(tx => pruneRecords(tx, 'ours', end, 2, null)), { examined: 2, removed: 2 })
    t.match(await prunePass(store, 'ours', end, 2), { removed: 1 })
    t.same(await left('old', 'old-too', 'exact', 'young', 'runs', 'endless', 'theirs'), [
      'exact', 'young', 'runs', 'theirs'
    ])
    t.equal(await retention.hasDueRecords('ours', end), false)
    t.match(await jobs.find('old'), { kind: 'tombstone', tombstone: { tenant: 'acme' } })
  })

  t.test('goes by the time that a record means, in whatever form it is written', async t => {
    for (const origin of ['ours', 'foreign'] as const) {
      for (const limit of [1, 3, 100]) {
        await t.test(`${origin}, ${limit} at a time`, async t => {
          const { store, sql, left } = await openRetention(t, open)
          const [by, otherBy] = origin === 'ours' ? ["'alice'", 'NULL'] : ['NULL', "'alice'"]
          const add = (
            jobId: string, status: string, createdAt: number, endTime: string | null, submittedBy = by
          ) => sql(`
            INSERT INTO JobExecutionLog (jobId, status, submittedBy, createdAt, endTime)
            VALUES ('${jobId}', '${status}', ${submittedBy}, '${iso(createdAt)}', ${endTime === null ? 'NULL' : `'${endTime}'`})`)
          for (const [number, [endTime]] of forms.entries()) await add(`j${number}`, 'Failed', end, endTime)
          await add('no-end-old', 'Succeeded', end - hour, null)
          await add('no-end', 'Succeeded', end + hour, null)
          await add('runs', 'Running', end - hour, null)
          await add('other', 'Failed', end - hour, iso(end - hour), otherBy)
          const leftOfForms = async () => new Set(await left(...forms.map((_, number) => `j${number}`)))
          await prunePass(store, origin, end, limit)
          const early = await leftOfForms()
          for (const [number, [endTime, isDue, what]] of forms.entries()) {
            t.equal(early.has(`j${number}`), !isDue, `${endTime}, ${what}`)
          }
          t.same(await left('no-end-old', 'no-end', 'runs', 'other'), ['no-end', 'runs', 'other'])
          await prunePass(store, origin, end + 400 * 24 * hour, limit)
          const late = await leftOfForms()
          for (const [number, [endTime, , what]] of forms.entries()) {
            t.equal(
              late.has(`j${number}`), /^(soon|-0001)$/.test(endTime), `a year later: ${endTime}, ${what}`
            )
          }
          t.same(await left('no-end', 'runs', 'other'), ['runs', 'other'])
        })
      }
    }
  })

  t.test('examines no record that it leaves, however many ended at one time', async t => {
    const { store, sql, count } = await openRetention(t, open)
    await sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
      INSERT INTO JobExecutionLog (jobId, status, endTime) SELECT 'odd-' || i, 'Failed', 'soon' FROM n
      UNION ALL SELECT 'due-' || i, 'Failed', '2020-01-01T00:00:00Z' FROM n`)
    t.same(await prunePass(store, 'foreign', end, 50), { removed: 500, examined: 500, batches: 11 })
    t.equal(await count("JobExecutionLog WHERE endTime = 'soon'"), 500)
  })

  t.test('a batch ends early where the texts in it are long, and the next one goes on', async t => {
    const { store, sql, count } = await openRetention(t, open)
    await sql(Array.from({ length: 12 }, (_, index) => `
      INSERT INTO JobExecutionLog (jobId, status, endTime, errorDetails)
      VALUES ('heavy-${index}', 'Failed', '2020-01-01T00:00:${String(index).padStart(2, '0')}Z', '${'x'.repeat(1_000_000)}')`)
      .join(';'))
    const { examined, removed, batches } = await prunePass(store, 'foreign', end, 12)
    t.same([examined, removed, await count('JobExecutionLog')], [12, 12, 0])
    t.ok(batches > 1)
    await store.transact(async tx => {
      for (const jobId of ['a', 'b', 'c']) await insertJob(tx, succeededJob(jobId, { expiresAt: end }))
    })
    await sql(`UPDATE JobExecutionLog SET progressMessage = '${'x'.repeat(3_000_000)}' WHERE jobId IN ('a', 'b', 'c')`)
    t.equal((await store.transact(tx => findDueResults(tx, end, 10))).length, 1)
  })

  t.test('finds results of ours that are due, oldest first', async t => {
    const { transact, sql, retention } = await openRetention(t, open)
    await transact(async tx => {
      for (const [jobId, expiresAt] of [['b', end], ['a', end - 1], ['late', end + 1]] as const) {
        await insertJob(tx, succeededJob(jobId, { expiresAt }))
      }
      await insertJob(tx, succeededJob('gone', { expiresAt: end - 2, resultExpiredAt: end - 1 }))
      await insertJob(tx, succeededJob('none'))
    })
    await sql(
      `INSERT INTO JobExecutionLog (jobId, status, expiresAt) VALUES ('theirs', 'Succeeded', '${iso(end - 5)}')`
    )
    t.same(await transact(tx => findDueResults(tx, end, 10)), ['a', 'b'])
    t.same(await transact(tx => findDueResults(tx, end, 1)), ['a'])
    t.same([await retention.hasDueResults(end - 2), await retention.hasDueResults(end - 1)], [false, true])
  })
}

const remainsConformance: Conformance = (t, open) => {
  t.test('logs a change for each tombstone that it prunes, so that no cache answers from it', async t => {
    const { transact, sql, retention, jobs, logged, count } = await openRetention(t, open)
    await sql(
      "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Failed'), ('b', 'Failed'), ('c', 'Queued'); DELETE FROM JobExecutionLog"
    )
    await sql(`UPDATE JobTombstone SET expiredAt = '${iso(end)}' WHERE jobId = 'a'`)
    await sql(`UPDATE JobTombstone SET expiredAt = '${iso(end + 1)}' WHERE jobId = 'b'`)
    const before = (await logged()).length
    t.equal(await retention.hasDueTombstones(end), false)
    t.equal(await transact(tx => pruneTombstones(tx, end, 10)), 0)
    t.equal(await retention.hasDueTombstones(end + 1), true)
    t.equal(await transact(tx => pruneTombstones(tx, end + 1, 10)), 1)
    const pruned = (await logged()).slice(before)
    t.match(pruned, [{ jobId: 'a' }])
    t.equal(pruned.length, 1)
    t.equal((await jobs.find('a')).kind, 'absent')
    t.equal(await transact(tx => pruneTombstones(tx, Date.now() + hour, 1)), 1, 'no more than the limit')
    t.equal(await count('JobTombstone'), 1)
    await sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued')")
    t.ok(versionOf(await jobs.find('a')) > (pruned[0]?.version ?? 0), 'the id is free, and has a later version')
  })

  t.test('prunes bytes that no job refers to a few chunks at a time, and then the note of them', async t => {
    const { transact, retention, count, sql } = await openRetention(t, open)
    const prune = (at: number, limit: number) => transact(tx => pruneOrphans(tx, at, limit))
    const counts = () => Promise.all(['JobResultChunk', 'OrphanedBytes'].map(count))
    for (let offset = 0; offset < 70; offset += 10) await transact(tx => appendBytes(tx, 'j', offset, Buffer.alloc(10)))
    await transact(tx => appendBytes(tx, 'live', 0, Buffer.alloc(10)))
    await sql(
      "INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'j', 100), ('JobInputChunk', 'empty', 200)"
    )
    t.same([await retention.hasOrphans(99), await prune(99, 3)], [false, 0])
    t.same([await retention.hasOrphans(100), await prune(100, 3)], [true, 3])
    t.same(await counts(), [5, 2], 'the next call finds the rest')
    t.same([await prune(100, 3), await prune(100, 3)], [3, 2])
    t.same(await counts(), [1, 1], 'bytes that are in use stay')
    t.same([await prune(200, 3), await prune(200, 3)], [1, 0], 'a note without bytes goes, too')
  })

  t.test('leaves a note if the limit ends with the last chunk, and the next call finds it', async t => {
    const { transact, count, sql } = await openRetention(t, open)
    await transact(tx => appendBytes(tx, 'j', 0, Buffer.alloc(10)))
    await sql("INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobResultChunk', 'j', 0)")
    t.equal(await transact(tx => pruneOrphans(tx, 0, 1)), 1)
    t.equal(await transact(tx => pruneOrphans(tx, 0, 1)), 1)
    t.same(await Promise.all(['JobResultChunk', 'OrphanedBytes'].map(count)), [0, 0])
  })
}

/** What the pruner finds and removes. */
export const retentionConformance: Conformance = (t, open) => {
  recordsConformance(t, open)
  remainsConformance(t, open)
}
