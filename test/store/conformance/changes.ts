import fc from 'fast-check'
import type { Test } from 'tap'
import type { Readers } from '../../../src/job/job.ts'
import type { Change, Cursor, Follower } from '../../../src/store/change-log.ts'
import type { Store } from '../../../src/store/store.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { pruneTombstones } from '../../../src/store/tx/retention.ts'
import { queuedJob } from '../jobs.ts'
import type { Conformance, StoreUnderTest } from './store-under-test.ts'

const add = ({ transact }: Store, ...jobIds: string[]) =>
  transact(async tx => { for (const jobId of jobIds) await insertJob(tx, queuedJob(jobId)) })

const idsOf = (changes: readonly Change[]) => changes.map(({ jobId }) => jobId)

const withoutCursors = (changes: readonly Change[]) =>
  changes.map(({ version, jobId }) => ({ version, jobId })).toSorted((a, b) => a.version - b.version)

/** Reads and accepts all there is, at most `limit` at once. Rejects where a page breaks a promise. */
const readAll = async (follower: Follower, limit: number): Promise<Change[]> => {
  const read: Change[] = []
  for (;;) {
    const { changes, isGap, isLast } = await follower.next(limit)
    if (isGap) throw new Error('there is no gap')
    if (changes.length > limit) throw new Error(`${changes.length} changes, and ${limit} were asked for`)
    read.push(...changes)
    follower.accept()
    if (isLast) return read
    if (changes.length === 0) throw new Error('an empty page that is not the last')
  }
}

const followConformance: Conformance = (t, open) => {
  t.test('a follower reads what was committed since it began, no matter which program wrote', async t => {
    const { store, sql, logged } = await open(t)
    await add(store, 'before')
    const follower = await store.changes.follow()
    t.same(await follower.next(10), { changes: [], isGap: false, isLast: true })
    await add(store, 'a', 'b')
    await sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'a'")
    await sql("DELETE FROM JobExecutionLog WHERE jobId = 'b'")
    t.same(withoutCursors(await readAll(follower, 10)), (await logged()).slice(1))
    t.same(await readAll(follower, 10), [], 'once')
  })

  t.test('a change that is rolled back is never read', async t => {
    const { store } = await open(t)
    const follower = await store.changes.follow()
    await t.rejects(store.transact(async tx => {
      await insertJob(tx, queuedJob('a'))
      throw new Error('rolled back')
    }), { message: 'rolled back' })
    t.same(await readAll(follower, 10), [])
    await add(store, 'b')
    t.same(idsOf(await readAll(follower, 10)), ['b'])
  })

  t.test('until a page is accepted, the next one starts at the same change', async t => {
    const { store } = await open(t)
    const follower = await store.changes.follow()
    await add(store, 'a', 'b', 'c')
    const first = await follower.next(2)
    t.equal(first.isLast, false)
    t.same(await follower.next(2), first)
    await add(store, 'd')
    t.same(await follower.next(2), first, 'also when more has come')
    t.same(await follower.next(1), { ...first, changes: first.changes.slice(0, 1) })
    follower.accept()
    const second = await follower.next(2)
    t.same(second.changes[0], first.changes[1], 'the page that was read last is what was accepted')
    follower.accept()
    t.same((await readAll(follower, 10)).length, 1)
  })

  t.test('followers read independently of each other', async t => {
    const { store, openAnother } = await open(t)
    const [one, other] = [await store.changes.follow(), await (await openAnother()).changes.follow()]
    await add(store, 'a', 'b')
    t.same(idsOf(await readAll(one, 1)), ['a', 'b'])
    t.same(idsOf(await readAll(other, 10)), ['a', 'b'])
  })
}

const cursorConformance: Conformance = (t, open) => {
  t.test('another process goes on from the cursor of any change', async t => {
    const { store, openAnother, sql } = await open(t)
    const follower = await store.changes.follow()
    await add(store, 'a', 'b', 'c')
    await sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'b'")
    await add(store, 'd')
    await sql("DELETE FROM JobExecutionLog WHERE jobId IN ('a', 'd')")
    const all = await readAll(follower, 3)
    t.equal(all.length, 7)
    const another = await openAnother()
    for (const [index, { cursor }] of all.entries()) {
      t.match(cursor, /^[A-Za-z0-9-]+$/, 'it fits into a URL and a header')
      t.same(await readAll(await another.changes.follow(cursor), 2), all.slice(index + 1), `after change ${index + 1}`)
    }
    await add(store, 'e')
    t.same(idsOf(await readAll(await another.changes.follow(all.at(-1)?.cursor), 2)), ['e'], 'also what came later')
  })

  t.test('another follower goes on from the cursor of a follower, wherever that has come to', async t => {
    const { store, openAnother } = await open(t)
    await add(store, 'before')
    const follower = await store.changes.follow()
    const another = await openAnother()
    const idsAfter = async () => idsOf(await readAll(await another.changes.follow(follower.cursor()), 2))
    const start = follower.cursor()
    t.same(await idsAfter(), [], 'before its first change')
    await add(store, 'a', 'b', 'c')
    t.equal(follower.cursor(), start)
    t.same(await idsAfter(), ['a', 'b', 'c'])
    const { changes } = await follower.next(2)
    t.equal(follower.cursor(), start, 'until the page is accepted')
    follower.accept()
    t.equal(follower.cursor(), changes.at(-1)?.cursor)
    t.same(await idsAfter(), ['c'])
    t.equal((await another.changes.follow(start)).cursor(), start)
  })

  t.test('a text that is no cursor of this log is rejected', async t => {
    const { store } = await open(t)
    const follower = await store.changes.follow()
    await add(store, 'a')
    const { changes: [change] } = await follower.next(1)
    const cursor = change?.cursor ?? ''
    for (const text of [
      '', ' ', 'x', '0', '-1', cursor.slice(1, 4), `${cursor} `, ` ${cursor}`, `${cursor}x`, `${cursor}999`, '\0', 'ä'
    ]) {
      await t.rejects(store.changes.follow(text), { name: 'CursorMalformed' }, JSON.stringify(text))
    }
    await t.resolves(store.changes.follow(cursor))
  })
}

/** What a follower at this place finds first. */
const firstPage = async (
  { store }: StoreUnderTest, from: Cursor | undefined
) => await (await store.changes.follow(from)).next(10)

const gapConformance: Conformance = (t, open) => {
  t.test('a follower learns of changes that were pruned before it read them', async t => {
    const opened = await open(t)
    const { store, pruneChanges } = opened
    const follower = await store.changes.follow()
    await add(store, 'a', 'b', 'c')
    await pruneChanges(1)
    const page = await follower.next(10)
    t.match(page, { changes: [{ jobId: 'c' }], isGap: true, isLast: true })
    t.same(await follower.next(10), page, 'until the page is accepted')
    follower.accept()
    t.same(await follower.next(10), { changes: [], isGap: false, isLast: true })
    await add(store, 'd')
    await pruneChanges(0)
    t.same(await follower.next(10), { changes: [], isGap: true, isLast: true }, 'also where none is left')
    follower.accept()
    await add(store, 'e')
    t.same(idsOf(await readAll(follower, 10)), ['e'])
  })

  t.test('what a follower has read can be pruned without a gap', async t => {
    const { store, pruneChanges } = await open(t)
    const follower = await store.changes.follow()
    await add(store, 'a', 'b')
    await readAll(follower, 10)
    await pruneChanges(0)
    await add(store, 'c')
    t.same(idsOf(await readAll(follower, 10)), ['c'])
  })

  t.test('a cursor is a gap only if a change after it was pruned', async t => {
    const opened = await open(t)
    const { store, pruneChanges } = opened
    const follower = await store.changes.follow()
    await add(store, 'a', 'b', 'c')
    const cursors = (await readAll(follower, 10)).map(({ cursor }) => cursor)
    await pruneChanges(1)
    t.match(await firstPage(opened, cursors[0]), { changes: [{ jobId: 'c' }], isGap: true })
    t.match(await firstPage(opened, cursors[1]), { changes: [{ jobId: 'c' }], isGap: false })
    t.match(await firstPage(opened, cursors[2]), { changes: [], isGap: false })
  })

  t.test('a cursor of before a restore is a gap', async t => {
    const { store, sql, openAnother } = await open(t)
    const follower = await store.changes.follow()
    await add(store, 'a', 'b')
    const all = await readAll(follower, 10)
    await sql("UPDATE ServiceState SET value = '0123456789abcdef' WHERE name = 'incarnation'")
    const restored = await openAnother()
    const page = await (await restored.changes.follow(all[0]?.cursor)).next(10)
    t.same([idsOf(page.changes), page.isGap], [['a', 'b'], true])
    t.notSame(page.changes[0]?.cursor, all[0]?.cursor)
  })
}

const acme = { tenant: 'acme' }
const other = { tenant: 'other' }

/** Statements of another program, one after another, and who could read the job before and after each. */
const readerCases: ReadonlyArray<[statement: string, before: Readers | null, after: Readers | null]> = [
  ["INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('j', 'Queued', 'acme')", null, acme],
  ["UPDATE JobExecutionLog SET progressPercent = 10 WHERE jobId = 'j'", acme, acme],
  ["UPDATE JobExecutionLog SET tenant = 'other' WHERE jobId = 'j'", acme, other],
  ["UPDATE JobExecutionLog SET tenant = 'acme', status = 'Running' WHERE jobId = 'j'", other, acme],
  ["UPDATE JobExecutionLog SET tenant = NULL WHERE jobId = 'j'", acme, 'everyone'],
  ["UPDATE JobExecutionLog SET tenant = '' WHERE jobId = 'j'", 'everyone', 'everyone'],
  ["UPDATE JobExecutionLog SET tenant = 'other' WHERE jobId = 'j'", 'everyone', other],
  ["DELETE FROM JobExecutionLog WHERE jobId = 'j'", other, null],
  ["INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Queued')", other, 'everyone'],
  ["DELETE FROM JobExecutionLog WHERE jobId = 'j'", 'everyone', null],
  ["INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('j', 'Failed', 'acme')", 'everyone', acme],
  ["DELETE FROM JobExecutionLog WHERE jobId = 'j'", acme, null]
]

const readersConformance: Conformance = (t, open) => {
  t.test('a change says who could read the job before and after it', async t => {
    const { store, sql } = await open(t)
    const follower = await store.changes.follow()
    for (const [statement, before, after] of readerCases) {
      await sql(statement)
      const changes = await readAll(follower, 10)
      t.match(changes, [{ jobId: 'j', readersBefore: before, readersAfter: after }], statement)
      t.equal(changes.length, 1)
    }
    await store.transact(tx => pruneTombstones(tx, Date.now() + 60_000, 10))
    t.match(await readAll(follower, 10), [{ jobId: 'j', readersBefore: null, readersAfter: null }])
    await sql("INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('j', 'Queued', 'other')")
    t.match(await readAll(follower, 10), [{ jobId: 'j', readersBefore: null, readersAfter: other }], 'as if it never was')
  })

  t.test('no tenant in a change matches a token that the tenant of the record does not match', async t => {
    const { store, sql } = await open(t)
    for (const [unit, name] of [['a', 'ASCII'], ['ä', 'two bytes'], ['€', 'three bytes'], ['😀', 'four bytes']] as const) {
      const longest = unit.repeat(256 / unit.length)
      for (const tenant of [longest, `${longest}x`, `${longest}${unit}`, unit.repeat(100_000)]) {
        const follower = await store.changes.follow()
        await sql(`INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('j', 'Queued', '${tenant}')`)
        await sql("DELETE FROM JobExecutionLog WHERE jobId = 'j'; DELETE FROM JobTombstone")
        const [inserted, deleted] = await readAll(follower, 10)
        const what = `${tenant.length} of ${name}`
        t.strictSame(deleted?.readersBefore, inserted?.readersAfter, what)
        const read = inserted?.readersAfter
        const isCut = typeof read === 'object' && read !== null && read.tenant.length > 256 && read.tenant.length < 1000
        if (tenant.length > 256) t.ok(isCut, `${what} is cut`)
        else t.strictSame(read, { tenant }, `${what} is whole`)
      }
    }
  })
}

type Step = { write: string[] } | {
  read: { follower: number, limit: number, isAccepted: boolean }
} | { resume: number }

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ write: fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 4 }) }),
  fc.record({
    read: fc.record({ follower: fc.nat(2), limit: fc.integer({ min: 1, max: 4 }), isAccepted: fc.boolean() })
  }),
  fc.record({ resume: fc.nat(2) })
)

const randomConformance = (t: Test, open: (t: Test) => Promise<StoreUnderTest>) => {
  t.test('whatever is written, read and resumed in turn, each follower reads every change once', async t => {
    const { store, logged } = await open(t)
    let jobs = 0
    await fc.assert(fc.asyncProperty(fc.array(anyStep, { minLength: 10, maxLength: 40 }), async steps => {
      const before = (await logged()).length
      const readers = await Promise.all(
        [1, 2, 3].map(async () => ({ follower: await store.changes.follow(), read: [] as Change[] }))
      )
      const write = (names: string[]) => Promise.all(names.map(name => add(store, `${name}-${++jobs}`)))
      for (const step of [...steps, { write: ['z'] }]) {
        if ('write' in step) await write(step.write)
        else if ('read' in step) {
          const reader = readers[step.read.follower]
          if (reader === undefined) continue
          const { changes } = await reader.follower.next(step.read.limit)
          if (!step.read.isAccepted) continue
          reader.follower.accept()
          reader.read.push(...changes)
        } else {
          const reader = readers[step.resume]
          const last = reader?.read.at(-1)
          if (reader !== undefined && last !== undefined) reader.follower = await store.changes.follow(last.cursor)
        }
      }
      const all = (await logged()).slice(before)
      for (const { follower, read } of readers) {
        t.strictSame(withoutCursors([...read, ...await readAll(follower, 3)]), all)
      }
    }), { numRuns: 60 })
  })
}

/** The change log, its followers and its cursors. */
export const changesConformance: Conformance = (t, open) => {
  for (const part of [
    followConformance, cursorConformance, gapConformance, readersConformance, randomConformance
  ]) part(t, open)
}
