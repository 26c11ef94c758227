import * as fc from 'fast-check'
import t from 'tap'
import { noFilters } from '../../../../src/ui/state/table/filters.ts'
import type { Change, Job, State } from '../../../../src/ui/state/job.ts'
import { JobList, type ListPage, rowsMax } from '../../../../src/ui/state/table/job-list.ts'
import { makeJob } from '../jobs.ts'

const filters = { ...noFilters, states: ['queued', 'running'] as State[] }
const pageSize = 3

/** A service: its jobs newest first, and the changes that the feed has not delivered yet. */
const createModel = () => {
  let jobs: Job[] = []
  let version = 0
  const changes: Change[] = []
  const positionOf = (job: Job): string => `${job.createdAt} ${job.taskId}`
  const put = (jobId: string, createdMs: number, status: State): void => {
    const job = makeJob({ taskId: jobId, createdAt: new Date(createdMs).toISOString(), status, version: ++version })
    jobs = [...jobs.filter(({ taskId }) => taskId !== jobId), job]
      .sort((a, b) => positionOf(a) < positionOf(b) ? 1 : -1)
    changes.push({ jobId, version, job })
  }
  return {
    changes,
    jobs: () => jobs.filter(({ status }) => filters.states.includes(status)),
    put,
    remove: (jobId: string): void => {
      jobs = jobs.filter(({ taskId }) => taskId !== jobId)
      changes.push({ jobId, version: ++version, job: null })
    },
    page (cursor: string | null): ListPage {
      const behind = this.jobs().filter(job => cursor === null || positionOf(job) < cursor)
      const items = behind.slice(0, pageSize)
      const last = items.at(-1)
      return { items, nextCursor: behind.length > pageSize && last !== undefined ? positionOf(last) : null }
    }
  }
}

const status = fc.constantFrom<State>('queued', 'running', 'succeeded')
const step = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), id: fc.nat(12), at: fc.integer({ min: 1, max: 20 }), status }),
  fc.record({ kind: fc.constant('remove' as const), id: fc.nat(12) }),
  fc.record({ kind: fc.constant('deliver' as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constantFrom('request' as const, 'arrive' as const) })
)

t.test('the rows are the newest jobs of the service, however pages and changes meet', t => {
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), steps => {
    const model = createModel()
    for (let index = 0; index < 8; index++) model.put(`job-${index}`, index + 1, 'queued')
    model.changes.length = 0
    const list = new JobList(filters)
    let oldest = ''
    const note = ({ items }: ListPage): void => { oldest = items.at(-1)?.createdAt ?? oldest }
    const first = model.page(null)
    list.start(filters, first)
    note(first)
    let requested: ListPage | null = null
    const deliver = (count: number): void => {
      for (const change of model.changes.splice(0, count)) list.apply(change, 1000)
    }
    const arrive = (): void => {
      if (requested === null) return
      list.append(requested)
      note(requested)
      requested = null
    }
    for (const one of steps) {
      if (one.kind === 'put') model.put(`job-${one.id}`, one.at, one.status)
      else if (one.kind === 'remove') model.remove(`job-${one.id}`)
      else if (one.kind === 'deliver') deliver(one.count)
      else if (one.kind === 'arrive') arrive()
      else if (requested === null && list.nextCursor() !== null) {
        list.expectPage(true)
        requested = model.page(list.nextCursor())
      }
    }
    arrive()
    deliver(Infinity)
    const rows = list.rows()
    const sort = (jobs: readonly Job[]) => jobs.map(({ taskId, version }) => `${taskId} ${version}`).sort()
    const expected = list.nextCursor() === null ? model.jobs() : model.jobs().filter(({ createdAt }) => createdAt > oldest)
    const shown = list.nextCursor() === null ? rows : rows.filter(({ createdAt }) => createdAt > oldest)
    const isOrdered = rows.every((job, index) => index === 0 || job.createdAt <= (rows[index - 1]?.createdAt ?? ''))
    return isOrdered && JSON.stringify(sort(shown)) === JSON.stringify(sort(expected))
  }), { numRuns: 2000 })
  t.pass('for 2,000 histories')
  t.end()
})

t.test('the oldest rows are dropped above the limit, and the list then ends there', t => {
  const list = new JobList(noFilters)
  const at = (index: number) => makeJob({ taskId: `job-${index}`, createdAt: new Date(index).toISOString(), version: index })
  const items = Array.from({ length: rowsMax - 1 }, (_, index) => at(rowsMax - index))
  list.start(noFilters, { items, nextCursor: 'more' })
  t.equal(list.isCut(), false)
  for (const index of [rowsMax + 1, rowsMax + 2]) list.apply({ jobId: `job-${index}`, version: index, job: at(index) }, rowsMax)
  t.equal(list.rows().length, rowsMax)
  t.equal(list.rows()[0]?.taskId, `job-${rowsMax + 2}`)
  t.equal(list.isCut(), true)
  t.equal(list.nextCursor(), null, 'what would follow the dropped rows is not loaded')
  list.apply({ jobId: 'old', version: 1, job: makeJob({ taskId: 'old', createdAt: new Date(0).toISOString(), version: 1 }) }, rowsMax)
  t.equal(list.find('old'), undefined, 'a job behind the rows is not one of them')
  t.end()
})

t.test('rows leave the table when they are too old for its filter', t => {
  const aged = { ...noFilters, age: '5m' as const }
  const list = new JobList(aged)
  const at = (minutes: number) => makeJob({ taskId: `job-${minutes}`, createdAt: new Date(minutes * 60_000).toISOString(), version: 1 })
  list.start(aged, { items: [at(9), at(6), at(5)], nextCursor: null })
  t.equal(list.removeOld(9 * 60_000), false)
  t.equal(list.removeOld(11 * 60_000), true)
  t.same(list.rows().map(({ taskId }) => taskId), ['job-9'])
  t.equal(list.indexOf('job-9'), 0)
  t.end()
})
