import t from 'tap'
import { toPlots } from '../../../../src/ui/state/service/series.ts'
import type { Sample } from '../../../../src/ui/state/service/service.ts'

const quantiles = { count: 3, p50: 0.001, p95: 0.002, p99: 0.003 }
const sample = (fields: Partial<Sample>): Sample => ({
  at: '2026-03-01T09:00:00.000Z',
  cacheMode: 'on',
  isStoreUp: true,
  queue: [],
  claimsPerMinute: 6,
  endsPerMinute: 3,
  waitingClients: { longPolls: 1, streams: 2, feeds: 3 },
  noticeSeconds: null,
  requestSeconds: quantiles,
  ...fields
})

t.test('samples become the lines of plots, with a gap where there is no value', t => {
  const plots = toPlots([
    sample({ queue: [{ type: 'b', queued: 2, running: 1, oldestSeconds: 4 }] }),
    sample({ queue: [{ type: 'a', queued: 1, running: 0, oldestSeconds: null }], cacheMode: 'off', noticeSeconds: quantiles })
  ])
  const lines = (title: string) => Object.fromEntries(
    (plots.find(plot => plot.title.startsWith(title))?.lines ?? []).map(({ name, values }) => [name, values]))
  t.same(lines('Queued'), { a: [0, 1], b: [2, 0] })
  t.same(lines('Running'), { a: [0, 0], b: [1, 0] })
  t.same(lines('Age'), { a: [null, null], b: [4, null] })
  t.same(lines('Claims'), { claims: [6, 6], ends: [3, 3] })
  t.same(lines('Waiting'), { 'long polls': [1, 1], streams: [2, 2], feeds: [3, 3] })
  t.same(lines('Notice'), { p50: [null, 1], p95: [null, 2], p99: [null, 3] })
  t.same(lines('Cache'), { mode: [2, 0] })
  t.end()
})

t.test('of many types those with the most jobs are drawn', t => {
  const queue = Array.from({ length: 20 }, (_, index) => ({ type: `type-${index}`, queued: index, running: 0, oldestSeconds: 1 }))
  const [queued] = toPlots([sample({ queue })])
  t.same(queued?.lines.map(({ name }) => name), ['type-14', 'type-15', 'type-16', 'type-17', 'type-18', 'type-19'])
  t.end()
})
