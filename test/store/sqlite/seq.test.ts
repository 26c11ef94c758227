import { join } from 'node:path'
import { Migrator } from 'kysely/migration'
import t, { type Test } from 'tap'
import type { ListPosition } from '../../../src/job/list-position.ts'
import { openDatabase } from '../../../src/store/sqlite/database.ts'
import { createListJobs } from '../../../src/store/sqlite/readers/job-list.ts'
import * as first from '../../../src/store/sqlite/migrations/0001-job-execution-log.ts'
import * as second from '../../../src/store/sqlite/migrations/0002-life-of-a-job.ts'
import * as third from '../../../src/store/sqlite/migrations/0003-cache-epoch.ts'
import { migrate } from '../../../src/store/sqlite/migrations/migrate.ts'
import { openReadOnlyStore } from '../../../src/store/sqlite/readers/read-only-store.ts'
import { nextAvailable } from '../../../src/store/tx/runs/available.ts'
import { setLease } from '../../../src/store/tx/runs/queue.ts'
import { pruneRecords, type RecordCursor } from '../../../src/store/tx/retention.ts'
import { kindsOfStore, looseTable, makeForeignDatabase } from './migrations/adopted.ts'
import { lease } from '../conformance/store-under-test.ts'
import { allJobs, idOf } from '../jobs.ts'
import { openForeign, openStore } from '../open.ts'

const end = Date.UTC(2026, 0, 31)

/** A database as the release before `seq` left it. */
const makePreviousRelease = async (t: Test, path = join(t.testdir(), 'jobs.db')): Promise<string> => {
  const { writer, close } = openDatabase(path)
  const migrations = { '0001-job-execution-log': first, '0002-life-of-a-job': second, '0003-cache-epoch': third }
  const provider = { getMigrations: () => Promise.resolve(migrations) }
  const { error } = await writer.transaction().execute(tx =>
    new Migrator({ db: tx, provider }).migrateToLatest())
  await close()
  t.equal(error, undefined)
  return path
}

for (const { kind, open } of kindsOfStore) {
  for (const mode of ['OFF', 'ON']) {
    t.test(`the seq of a row of ${kind} is drawn once and never changes, recursive_triggers ${mode}`, async t => {
      const { path } = await open(t)
      const foreign = openForeign(t, path, `recursive_triggers = ${mode}`)
      const head = foreign.prepare<[], number>("SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'").pluck()
      const seqOf = foreign.prepare<[string], number | null>('SELECT seq FROM JobExecutionLog WHERE jobId = ?').pluck()
      const versionOf = foreign.prepare<[string], number>('SELECT version FROM JobExecutionLog WHERE jobId = ?').pluck()
      const insert = (jobId: string, columns = '', values = '') =>
        foreign.exec(`INSERT INTO JobExecutionLog (jobId, status${columns}) VALUES ('${jobId}', 'Queued'${values})`)

      insert('a')
      t.same([seqOf.get('a'), versionOf.get('a'), head.get()], [1, 1, 1], 'one version is drawn')
      insert('b', ', seq', ', 1')
      insert('c', ', seq', ', 1000')
      insert('d', ', seq, version', ', 1, 4')
      insert('e', ', version', `, ${(head.get() ?? 0) + 1}`)
      insert('f', ', version, seq', `, ${(head.get() ?? 0) + 2}, ${(head.get() ?? 0) + 2}`)
      const allRows = foreign.prepare<[], { jobId: string, seq: number }>(
        'SELECT jobId AS jobId, seq FROM JobExecutionLog ORDER BY seq')
      const rows = () => allRows.all()
      const before = rows()
      t.same(before.map(({ jobId }) => jobId), ['a', 'b', 'c', 'd', 'e', 'f'])
      t.equal(new Set(before.map(({ seq }) => seq)).size, 6)
      const isDrawn = ({ seq }: { seq: number }) => Number.isInteger(seq) && seq <= (head.get() ?? 0)
      t.ok(before.every(isDrawn), 'no seq is one that was written')

      const written = [
        'seq = 1', 'seq = NULL', 'seq = -1', 'seq = 1000000', 'seq = seq + 1', 'seq = version', 'seq = seq',
        "seq = 7, type = 'x'", 'seq = 7, version = 7', 'seq = (SELECT max(version) FROM JobChange)',
        ...[0, 1, 2, 3].map(next => `(SELECT max(version) FROM JobChange) + ${next}`).flatMap(predicted => [
          `version = ${predicted}, seq = 5`, `version = ${predicted}, seq = ${predicted}`,
          `version = ${predicted}, seq = 5, type = type || 'y'`
        ])
      ]
      for (const set of written) {
        for (const where of ["jobId = 'b'", "jobId = 'f'", '1']) {
          for (const or of ['', 'OR REPLACE', 'OR IGNORE']) {
            foreign.exec(`UPDATE ${or} JobExecutionLog SET ${set} WHERE ${where}`)
            t.same(rows(), before, `${or} ${set} WHERE ${where}`)
          }
        }
      }
      t.equal(versionOf.get('f'), head.get(), 'and the last row that was changed has the newest version')

      foreign.exec("REPLACE INTO JobExecutionLog (jobId, status, seq) VALUES ('a', 'Running', 1)")
      t.equal(seqOf.get('a'), versionOf.get('a'), 'a row that is replaced is inserted again')
      t.equal(rows().at(-1)?.jobId, 'a')
      foreign.exec('DELETE FROM JobExecutionLog')
      insert('g')
      t.equal(seqOf.get('g'), head.get(), 'a seq is never used again')
      t.equal(foreign.pragma('integrity_check', { simple: true }), 'ok')
    })
  }
}

/** What the service reads of a database that is ordered by insertion. */
const openOrders = async (t: Test, path: string) => {
  const { database, transact } = await openStore(t, path)
  const list = createListJobs({ database })
  const readOnly = openReadOnlyStore(path)
  t.teardown(readOnly.close)
  return {
    listed: async (tenant: string | null) => {
      const ids: string[] = []
      for (let after: ListPosition | null = null; ;) {
        const { lookups, next } = await list({ ...allJobs, tenant }, after, 7)
        ids.push(...lookups.map(idOf))
        if (next === null) return ids
        after = next
      }
    },
    /** Takes every job that waits. */
    claimed: () => transact(async tx => {
      const ids: string[] = []
      for (;;) {
        const item = await nextAvailable(tx, { types: ['x', 'y'], tenant: null }, end)
        if (item === undefined) return ids
        await setLease(tx, item.jobId, lease('l'))
        ids.push(item.jobId)
      }
    }),
    /** The rows of a report, by the start that is written in them. */
    reported: async () => {
      const { total, pages } = await readOnly.records({ tenant: 'x', allTenants: true }, undefined)
      const rows = (await Array.fromAsync(pages)).flat().map(({ startedAt }) => startedAt)
      t.equal(rows.length, total)
      return rows
    },
    /** Prunes one record at a time, in the order in which they come up. */
    pruned: async () => {
      const ids: unknown[] = []
      const present = database.reader.prepare('SELECT jobId FROM JobExecutionLog').pluck()
      for (let cursor: RecordCursor | null = null, last = present.all(); ;) {
        const { next } = await transact(tx => pruneRecords(tx, 'foreign', end, 1, cursor))
        const left = present.all()
        ids.push(...last.filter(id => !left.includes(id)))
        if (next === null) return ids
        cursor = next
        last = left
      }
    }
  }
}

const fill = `
  INSERT INTO JobExecutionLog (jobId, status, tenant, createdAt, startTime, endTime)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
    SELECT 'job-' || i, iif(i % 2, 'Queued', 'Failed'), iif(i % 3, 'acme', NULL), iif(i % 5, '2000-01-01', 'never'), 1000000000 + i,
      '2026-01-02' FROM n;
  INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt)
    SELECT jobId, iif(startTime % 4 = 1, 'x', 'y'), 1, 0 FROM JobExecutionLog WHERE status = 'Queued'`

const numbers = Array.from({ length: 40 }, (_, index) => index + 1)
const [timed, untimed] = [numbers.filter(n => n % 5 > 0), numbers.filter(n => n % 5 === 0)]
const toIds = (of: readonly number[]) => of.map(n => `job-${n}`)
const listOrder = toIds([...untimed.toReversed(), ...timed.toReversed()])

const expectOrders = async (t: Test, path: string) => {
  const orders = await openOrders(t, path)
  t.same(await orders.listed(null), listOrder)
  t.same(await orders.listed('acme'), listOrder)
  t.same(await orders.claimed(), toIds(numbers.filter(n => n % 2 === 1)))
  t.same((await orders.reported()).map(startedAt => Number(startedAt) / 1000 - 1e9), numbers)
  t.same(await orders.pruned(), toIds(numbers.filter(n => n % 2 === 0)))
}

// What VACUUM may do to the rowids of tables without an INTEGER PRIMARY KEY, and more.
const reverseRowids = (t: Test, path: string) => {
  const foreign = openForeign(t, path)
  const triggers = foreign.prepare<[], { name: string, sql: string }>(
    "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").all()
  for (const { name } of triggers) foreign.exec(`DROP TRIGGER ${name}`)
  for (const table of ['JobExecutionLog', 'JobQueue']) {
    foreign.exec(`UPDATE ${table} SET rowid = -rowid; UPDATE ${table} SET rowid = 1000 + rowid`)
  }
  for (const { sql } of triggers) foreign.exec(sql)
  t.equal(foreign.prepare('SELECT jobId FROM JobExecutionLog ORDER BY rowid LIMIT 1').pluck().get(), 'job-40')
}

t.test('lists, the queue, reports and the pruner keep their order when rowids change', async t => {
  for (const [what, change] of [
    ['as it is', () => {}],
    ['after VACUUM', (path: string) => { openForeign(t, path).exec('VACUUM') }],
    ['with the rowids in reverse', (path: string) => { reverseRowids(t, path) }]
  ] as const) {
    await t.test(what, async t => {
      const { path } = await openStore(t)
      openForeign(t, path).exec(fill)
      change(path)
      await expectOrders(t, path)
    })
  }
})

t.test('a database of the previous release keeps its order, and later rows come after', async t => {
  const path = await makePreviousRelease(t)
  const foreign = openForeign(t, path)
  foreign.exec(fill)
  const head = foreign.prepare('SELECT max(version) FROM JobChange').pluck()
  const before = head.get()
  const list = createListJobs(await openStore(t, path))
  t.equal(head.get(), before, 'the migration draws no version')
  t.same(foreign.prepare('SELECT seq FROM JobExecutionLog ORDER BY rowid').pluck().all(), numbers)
  const queued = foreign.prepare(
    'SELECT count(*) FROM JobQueue JOIN JobExecutionLog AS log USING (jobId) WHERE JobQueue.seq IS log.seq').pluck()
  t.equal(queued.get(), 20)
  // The statements of the previous release, which knows no seq.
  foreign.exec(`
    INSERT INTO JobExecutionLog (jobId, status, createdAt) VALUES ('later', 'Queued', '2026-01-01');
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt) VALUES ('later', 'x', 1, 0)`)
  const { lookups } = await list(allJobs, null, 2)
  t.same(lookups.map(idOf), ['later', 'job-40'])
  foreign.exec("DELETE FROM JobExecutionLog WHERE jobId = 'later'")
  await expectOrders(t, path)
})

t.test('ranks the rows of an engine by their rowids, and puts later rows after them', async t => {
  const path = makeForeignDatabase(t, `${looseTable};
    INSERT INTO jobexecutionlog (id, jobid, STATUS)
      VALUES (9007199254740993, 'c', 'Running'), (-5, 'a', 'Running'), (7, 'b', 'Running')`)
  await openStore(t, path)
  const engine = openForeign(t, path)
  engine.exec("INSERT INTO jobexecutionlog (id, jobid, STATUS) VALUES (1, 'd', 'Running')")
  const ranks = engine.prepare('SELECT jobid, seq FROM jobexecutionlog ORDER BY seq').raw().all()
  t.same(ranks, [['a', 1], ['b', 2], ['c', 3], ['d', 4]])
})

t.test('rejects a table that the previous release adopted with a column seq, and leaves it as it was', async t => {
  const path = makeForeignDatabase(t, 'CREATE TABLE JobExecutionLog (jobId TEXT PRIMARY KEY, status TEXT, seq TEXT)')
  await makePreviousRelease(t, path)
  openForeign(t, path).exec("INSERT INTO JobExecutionLog (jobId, status, seq) VALUES ('a', 'Running', 'mine')")
  const { writer, close } = openDatabase(path)
  t.teardown(close)
  await t.rejects(migrate(writer), { name: 'DatabaseUnusable', message: /duplicate column name: seq/ })
  t.same(openForeign(t, path).prepare('SELECT seq FROM JobExecutionLog').pluck().all(), ['mine'])
})
