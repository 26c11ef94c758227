import fc from 'fast-check'
import type { ListPosition } from '../../../src/job/list-position.ts'
import type { ListFilter, ListJobs, ListPage } from '../../../src/store/store.ts'
import { idOf } from '../jobs.ts'
import type { Conformance } from './store-under-test.ts'

const all: ListFilter = { tenant: null, status: null, type: null, createdAfter: null }

const idsOf = ({ lookups }: ListPage) => lookups.map(idOf)

/** The ids of every page, one page after the other. */
const readPages = async (list: ListJobs, filter: ListFilter, limit: number): Promise<string[][]> => {
  const pages: string[][] = []
  for (let after: ListPosition | null = null; pages.length < 1000;) {
    const page: ListPage = await list(filter, after, limit)
    pages.push(idsOf(page))
    if (page.next === null) return pages
    after = page.next
  }
  throw new Error('the list has no end')
}

type Row = { tenant: string | null, status: string, type: string | null, createdAt: string }

const quote = (text: string | null) => text === null ? 'NULL' : `'${text}'`

const toInsert = (
  rows: ReadonlyArray<Row & { jobId: string }>
) => rows.map(({ jobId, tenant, status, type, createdAt }) =>
  `INSERT INTO JobExecutionLog (jobId, tenant, status, type, createdAt) VALUES (${[jobId, tenant, status, type, createdAt].map(quote).join()})`
).join(';')

const times = [
  '2026-01-02T03:04:05.678Z', '2026-01-02T03:04:05.679Z', '2026-01-02T05:04:05.678+02:00', '2025-12-31T00:00:00Z', '',
  'never'
]

const anyRow: fc.Arbitrary<Row> = fc.record({
  tenant: fc.constantFrom('acme', 'globex', null),
  status: fc.constantFrom('Queued', 'Failed'),
  type: fc.constantFrom('report', null),
  createdAt: fc.constantFrom(...times)
})

const anyFilter: fc.Arbitrary<ListFilter> = fc.record({
  tenant: fc.constantFrom('acme', null),
  status: fc.constantFrom('Failed', null),
  type: fc.constantFrom('report', null),
  createdAfter: fc.constantFrom(null, null, Date.UTC(2026, 0, 1), Date.UTC(2026, 0, 2, 3, 4, 5, 678))
})

const timeOf = ({ createdAt }: Row): number => /^\d{4}-/.test(createdAt) ? Date.parse(createdAt) : -Infinity

const matches = ({ tenant, status, type, createdAfter }: ListFilter) => (row: Row): boolean =>
  (tenant === null || row.tenant === null || row.tenant === tenant) && (status === null || row.status === status) &&
  (type === null || row.type === type) && (createdAfter === null || timeOf(row) > createdAfter)

/** Lists of jobs, page by page. */
export const listsConformance: Conformance = (t, open) => {
  t.test('lists any rows newest first, and of one time the latest first', async t => {
    const { store, listWith, sql } = await open(t)
    let jobs = 0
    const bounds = fc.constantFrom(1, 3, undefined)
    await fc.assert(fc.asyncProperty(fc.array(anyRow, { maxLength: 20 }), anyFilter, fc.integer({
      min: 1, max: 7
    }), bounds,
    async (rows, filter, limit, rowsExaminedMax) => {
      const known = rows.map(row => ({ ...row, jobId: `job-${++jobs}` }))
      await sql(`BEGIN; DELETE FROM JobExecutionLog; ${toInsert(known)}; COMMIT`)
      const pages = await readPages(
        rowsExaminedMax === undefined ? store.jobs.list : listWith(rowsExaminedMax), filter, limit
      )
      // The sort is stable: reversed, the latest of one time comes first.
      const expected = known.toReversed().filter(matches(filter)).toSorted(
        (a, b) => Math.sign(timeOf(b) - timeOf(a)) || 0
      )
      t.strictSame(pages.flat(), expected.map(({ jobId }) => jobId))
      t.ok(pages.every(page => page.length <= limit))
    }), { numRuns: 60 })
  })

  t.test('rows inserted between two pages neither move nor repeat others', async t => {
    const { store: { jobs: { list } }, sql } = await open(t)
    const add = (jobId: string, createdAt: string) => sql(
      toInsert([{ jobId, tenant: null, status: 'Queued', type: null, createdAt }])
    )
    for (const n of [1, 2, 3, 4, 5, 6]) await add(`old-${n}`, `2026-01-0${n}`)
    const first = await list(all, null, 3)
    t.same(idsOf(first), ['old-6', 'old-5', 'old-4'])
    await add('newer', '2026-02-01')
    await add('same-as-last', '2026-01-04')
    await add('same-as-next', '2026-01-03')
    await add('older', '2026-01-01T12:00:00Z')
    const second = await list(all, first.next, 3)
    t.same(idsOf(second), ['same-as-next', 'old-3', 'old-2'])
    const third = await list(all, second.next, 3)
    t.same(idsOf(third), ['older', 'old-1'])
    t.equal(third.next, null)
  })

  t.test('ends a page of rare jobs early, with the position to go on from', async t => {
    const { listWith, sql } = await open(t)
    await sql(toInsert(Array.from({ length: 95 }, (_, index) => ({
      jobId: `job-${index + 1}`,
      tenant: null,
      status: [3, 50, 51].includes(index + 1) ? 'Failed' : 'Queued',
      type: null,
      createdAt: '2026-01-01T00:00:00Z'
    }))))
    const pages = await readPages(listWith(10), { ...all, status: 'Failed' }, 5)
    t.same(pages.flat(), ['job-51', 'job-50', 'job-3'])
    t.equal(pages.length, 10, 'ten rows for each page')
    t.ok(pages.some(page => page.length === 0), 'an empty page is not the end')
  })

  t.test('many jobs of a tenant do not hide those without a tenant', async t => {
    const { listWith, sql } = await open(t)
    const failed = (jobId: string, createdAt: string, tenant: string | null = null) => ({
      jobId, tenant, status: 'Failed', type: null, createdAt
    })
    await sql(toInsert([
      ...Array.from({ length: 30 }, (_, second) => ({
        ...failed(`acme-${second}`, `2026-01-01T00:00:${String(second).padStart(2, '0')}Z`, 'acme'), status: 'Queued'
      })),
      failed('early', '2025-01-01'), failed('middle', '2026-01-01T00:00:15.500Z'), failed('late', '2027-01-01'),
      failed('foreign', '2028-01-01', 'globex')
    ]))
    t.same((await readPages(listWith(5), { ...all, tenant: 'acme', status: 'Failed' }, 2)).flat(), [
      'late', 'middle', 'early'
    ])
  })

  t.test('lists rows that break BR-001 as invalid', async t => {
    const { store: { jobs: { list } }, sqlUnchecked } = await open(t)
    await sqlUnchecked("INSERT INTO JobExecutionLog (jobId, status) VALUES ('good', 'Queued'), ('bad', 'Paused')")
    t.same((await list(all, null, 10)).lookups.map(({ kind }) => kind), ['invalid', 'job'])
    t.same(idsOf(await list({ ...all, status: 'Queued' }, null, 10)), ['good'])
  })
}
