import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { ListPosition } from '../../../../src/job/list-position.ts'
import { type JobLookup, type JobState, toRecordStatus } from '../../../../src/job/job.ts'
import { createListJobs } from '../../../../src/store/sqlite/readers/job-list.ts'
import type { ListFilter, ListPage } from '../../../../src/store/store.ts'
import { allJobs, idOf } from '../../jobs.ts'
import { openForeign, openStore } from '../../open.ts'

const openList = async (t: Test, rowsExaminedMax?: number) => {
  const opened = await openStore(t)
  const foreign = openForeign(t, opened.path)
  const list = createListJobs({
    database: opened.database, ...(rowsExaminedMax === undefined ? {} : { rowsExaminedMax })
  })
  return { ...opened, foreign, list }
}

const ids = (lookups: readonly JobLookup[]) => lookups.map(idOf)

type Row = { tenant: string | null, status: string, type: string | null, time: string | number }

// Many that mean the same, and some that are none: those rows are as old as their insertion.
const times: ReadonlyArray<Row['time']> = [
  '2026-01-02T03:04:05.678Z', '2026-01-02 03:04:05.678', '2026-01-02T05:04:05.678+0200', '20260101T220405.678-05',
  1767323045678, '2026-01-02T03:04:05.679Z', '2026-01-02T03:04:05Z', '2026-01-02 03:04', '2026-01-02', '2026-W01-5',
  '1969-12-31T23:59:59.999Z', '0001-01-01', '9999-12-31T23:59:59.999Z', '', 'never'
]

const anyRow: fc.Arbitrary<Row> = fc.record({
  tenant: fc.constantFrom('acme', 'globex', null, ''),
  status: fc.constantFrom('Queued', 'Running', 'Succeeded', 'Failed'),
  type: fc.constantFrom('report', 'export', null, ''),
  time: fc.constantFrom(...times)
})

const anyFilter: fc.Arbitrary<ListFilter> = fc.record({
  tenant: fc.constantFrom('acme', null),
  states: fc.constantFrom<Array<JobState[] | null>>(['failed', 'cancelled'], ['queued', 'succeeded'], null),
  type: fc.constantFrom('report', null),
  createdAfter: fc.constantFrom(null, null, Date.UTC(2026, 0, 2), Date.UTC(2026, 0, 2, 3, 4, 5, 678), -2),
  createdBefore: fc.constantFrom(null, null, Date.UTC(2026, 0, 2, 3, 4, 5, 679), Date.UTC(2026, 0, 2), 0),
  idPrefix: fc.constantFrom(null, null, 'job-1', 'job-22', 'x')
})

type Known = Row & ListPosition & { jobId: string }

const compare = (a: ListPosition, b: ListPosition): number =>
  b.createdMs === a.createdMs ? b.seq - a.seq : b.createdMs - a.createdMs

/** What a list without any bound would give after a position. */
const modelOf = (rows: readonly Known[], filter: ListFilter, after: ListPosition | null): string[] => rows
  .filter(({ jobId, tenant, status, type, createdMs }) =>
    (filter.tenant === null || tenant === null || tenant === '' || tenant === filter.tenant) &&
    (filter.states === null || filter.states.some(state => toRecordStatus(state) === status)) &&
    (filter.idPrefix === null || jobId.startsWith(filter.idPrefix)) &&
    (filter.createdBefore === null || createdMs < filter.createdBefore) &&
    (filter.type === null || type === filter.type) &&
    (filter.createdAfter === null || createdMs > filter.createdAfter))
  .filter(known => after === null || compare(after, known) < 0)
  .toSorted(compare)
  .map(({ jobId }) => jobId)

t.test('each page is the next part of the sorted list, also while rows are inserted', async t => {
  const { list: unbounded, foreign, database } = await openList(t)
  const insert = foreign.prepare(
    'INSERT INTO JobExecutionLog (jobId, tenant, status, type, createdAt) VALUES (?, ?, ?, ?, ?)'
  )
  const positionOf = foreign.prepare<[string], ListPosition>('SELECT createdMs, seq FROM JobExecutionLog WHERE jobId = ?')
  let count = 0
  const add = (rows: readonly Row[]): Known[] => rows.map(row => {
    const jobId = `job-${++count}`
    insert.run(jobId, row.tenant, row.status, row.type, row.time)
    return { ...row, jobId, ...positionOf.get(jobId) as ListPosition }
  })
  const bounds = fc.constantFrom(1, 2, 3, 7, undefined)
  await fc.assert(fc.asyncProperty(
    fc.array(anyRow, { maxLength: 40 }), anyFilter, fc.integer({ min: 1, max: 7 }), bounds,
    fc.array(fc.array(anyRow, { maxLength: 3 }), { maxLength: 12 }),
    async (rows, filter, limit, rowsExaminedMax, later) => {
      foreign.exec('BEGIN; DELETE FROM JobExecutionLog; COMMIT')
      const list = rowsExaminedMax === undefined ? unbounded : createListJobs({ database, rowsExaminedMax })
      foreign.exec('BEGIN')
      const known = add(rows)
      foreign.exec('COMMIT')
      const seen = new Set<string>()
      let after: ListPosition | null = null
      for (let pages = 0; ; pages++) {
        if (pages > 1000) throw new Error('the list has no end')
        const { lookups, next }: ListPage = await list(filter, after, limit)
        const expected = modelOf(known, filter, after)
        const page = ids(lookups)
        if (page.length > limit) throw new Error('a page is too long')
        for (const jobId of page) {
          if (seen.has(jobId)) throw new Error(`${jobId} was shown twice`)
          seen.add(jobId)
        }
        if (JSON.stringify(page) !== JSON.stringify(expected.slice(0, page.length))) {
          throw new Error(`${page.join()} is not the beginning of ${expected.join()}`)
        }
        if (next === null && page.length !== expected.length) {
          throw new Error(`it ended before ${expected.slice(page.length).join()}`)
        }
        if (rowsExaminedMax === undefined && page.length < Math.min(limit, expected.length)) {
          throw new Error('a page is short without a bound')
        }
        if (next === null) return
        if (after !== null && compare(after, next) >= 0) throw new Error('it does not go on')
        after = next
        known.push(...add(later[pages] ?? []))
      }
    }
  ), { numRuns: 300 })
})

t.test('each statement searches an index: none sorts, and none scans rows of one time or of other tenants', async t => {
  const { database } = await openList(t)
  const { reader } = database
  const prepare = reader.prepare.bind(reader)
  const texts: string[] = []
  reader.prepare = (text: string) => {
    texts.push(text)
    return prepare(text)
  }
  createListJobs({ database })
  const [byId] = texts.filter(text => text.includes('char(127)') && text.includes('createdMs'))
  const lists = texts.filter(text => text.includes('ORDER BY createdMs'))
  t.equal(lists.length, 16)
  const named = {
    tenant: 'a',
    createdMs: 1,
    seq: 1,
    createdAfter: 1,
    statuses: null,
    cancelledOnly: 0,
    type: null,
    idPrefix: null,
    limit: 1
  }
  t.match(prepare(`EXPLAIN QUERY PLAN ${byId}`).all(named), [
    { detail: /CO-ROUTINE/ }, { detail: /SEARCH JobExecutionLog USING INDEX \w+ \(jobId>\? AND jobId<\?\)/ }
  ])
  for (const text of lists) {
    const steps = (prepare(`EXPLAIN QUERY PLAN ${text}`).all(named) as Array<{ detail: string }>).map(
      ({ detail }) => detail
    )
    const range = text.includes('seq < :seq') ? 'createdMs=? AND seq<?' : 'createdMs>? AND createdMs<?'
    const owner = text.includes('tenant') ? 'tenant=? AND ' : ''
    t.same(steps.map(step => step.replace(
      /USING INDEX \w+ /, ''
    )), ['CO-ROUTINE (subquery-1)', `SEARCH JobExecutionLog (${owner}${range})`, 'SCAN (subquery-1)'], text)
  }
})

t.test('ids that begin alike are found wherever they are in the list', async t => {
  const { foreign, list } = await openList(t)
  foreign.exec(`
    INSERT INTO JobExecutionLog (jobId, status, createdAt) VALUES ('wanted-1', 'Queued', '2020-01-01');
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
    INSERT INTO JobExecutionLog (jobId, status, createdAt) SELECT 'job-' || i, 'Queued', '2026-01-01' FROM n`)
  const { lookups, next } = await list({ ...allJobs, idPrefix: 'wanted' }, null, 10)
  t.same([ids(lookups), next], [['wanted-1'], null], 'in one page, behind more rows than a page examines')
})

t.test('rejects with STORE_UNAVAILABLE if the table is gone', async t => {
  const { list, foreign } = await openList(t)
  foreign.exec('ALTER TABLE JobExecutionLog RENAME TO Away')
  await t.rejects(list(allJobs, null, 1), { code: 'STORE_UNAVAILABLE' })
})
