import fc from 'fast-check'
import type { JobState } from '../../../src/job/job.ts'
import type { ListPosition } from '../../../src/job/list-position.ts'
import type { ListFilter, ListJobs, ListPage } from '../../../src/store/store.ts'
import { allJobs, idOf } from '../jobs.ts'
import type { Conformance } from './store-under-test.ts'

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

type Row = { tenant: string | null, status: string, type: string | null, createdAt: string, cancelledAt?: string }

const quote = (text: string | null) => text === null ? 'NULL' : `'${text}'`

const toInsert = (
  rows: ReadonlyArray<Row & { jobId: string }>
) => rows.map(({ jobId, tenant, status, type, createdAt, cancelledAt = null }) => `
  INSERT INTO JobExecutionLog (jobId, tenant, status, type, createdAt, cancelledAt)
  VALUES (${[jobId, tenant, status, type, createdAt, cancelledAt].map(quote).join()})`
).join(';')

const times = [
  '2006-01-02T03:04:05.678Z', '2006-01-02T03:04:05.679Z', '2006-01-02T05:04:05.678+02:00', '2005-12-31T00:00:00Z', '',
  'never'
]

const anyRow: fc.Arbitrary<Row> = fc.record({
  tenant: fc.constantFrom('acme', 'globex', null, ''),
  status: fc.constantFrom('Queued', 'Failed'),
  type: fc.constantFrom('report', null, ''),
  createdAt: fc.constantFrom(...times)
}).chain(row => row.status !== 'Failed'
  ? fc.constant(row)
  // Neither an empty text nor one that is no time makes a cancelled job of a failed one.
  : fc.constantFrom(row, ...['2026-01-03T00:00:00Z', '', 'never'].map(cancelledAt => ({ ...row, cancelledAt }))))

const anyFilter: fc.Arbitrary<ListFilter> = fc.record({
  tenant: fc.constantFrom('acme', null),
  states: fc.constantFrom<Array<JobState[] | null>>(
    ['failed', 'cancelled'], ['failed'], ['cancelled'], ['queued', 'cancelled'], ['running'], null),
  type: fc.constantFrom('report', null),
  createdAfter: fc.constantFrom(null, null, Date.UTC(2006, 0, 1), Date.UTC(2006, 0, 2, 3, 4, 5, 678)),
  createdBefore: fc.constantFrom(null, null, Date.UTC(2006, 0, 1), Date.UTC(2006, 0, 2, 3, 4, 5, 679)),
  idPrefix: fc.constantFrom(null, null, 'job-1', 'job-2', 'none')
})

// A row without a time counts as created when it was inserted, which is now.
const timeOf = ({ createdAt }: Row): number => /^\d{4}-/.test(createdAt) ? Date.parse(createdAt) : Infinity

const stateOf = ({ status, cancelledAt = '' }: Row): JobState =>
  status === 'Queued' ? 'queued' : cancelledAt.startsWith('2') ? 'cancelled' : 'failed'

const matches = ({ tenant, states, type, createdAfter, createdBefore, idPrefix }: ListFilter) =>
  (row: Row & { jobId: string }): boolean =>
    (tenant === null || row.tenant === null || row.tenant === '' || row.tenant === tenant) &&
    (states === null || states.includes(stateOf(row))) && (type === null || row.type === type) &&
    (createdAfter === null || timeOf(row) > createdAfter) &&
    (createdBefore === null || timeOf(row) < createdBefore) &&
    (idPrefix === null || row.jobId.startsWith(idPrefix))

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
    const first = await list(allJobs, null, 3)
    t.same(idsOf(first), ['old-6', 'old-5', 'old-4'])
    await add('newer', '2026-02-01')
    await add('same-as-last', '2026-01-04')
    await add('same-as-next', '2026-01-03')
    await add('older', '2026-01-01T12:00:00Z')
    const second = await list(allJobs, first.next, 3)
    t.same(idsOf(second), ['same-as-next', 'old-3', 'old-2'])
    const third = await list(allJobs, second.next, 3)
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
    const pages = await readPages(listWith(10), { ...allJobs, states: ['failed'] }, 5)
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
    t.same((await readPages(listWith(5), { ...allJobs, tenant: 'acme', states: ['failed'] }, 2)).flat(), [
      'late', 'middle', 'early'
    ])
  })

  t.test('ends a page before the texts in it take long to read, and goes on', async t => {
    const { store: { jobs: { list } }, sql } = await open(t)
    const megabyte = 'x'.repeat(1024 * 1024)
    await sql(Array.from({ length: 20 }, (_, index) => `
      INSERT INTO JobExecutionLog (jobId, status, createdAt, errorDetails)
      VALUES ('job-${index}', 'Failed', '2026-01-01', '${megabyte}')`).join(';'))
    const pages = await readPages(list, allJobs, 20)
    t.same(pages.flat(), Array.from({ length: 20 }, (_, index) => `job-${19 - index}`))
    t.ok(pages.length > 1 && pages.every(page => page.length > 0))
  })

  t.test('lists rows that break BR-001 as invalid', async t => {
    const { store: { jobs: { list } }, sqlUnchecked } = await open(t)
    await sqlUnchecked("INSERT INTO JobExecutionLog (jobId, status) VALUES ('good', 'Queued'), ('bad', 'Paused')")
    t.same((await list(allJobs, null, 10)).lookups.map(({ kind }) => kind), ['invalid', 'job'])
    t.same(idsOf(await list({ ...allJobs, states: ['queued'] }, null, 10)), ['good'])
  })
}
