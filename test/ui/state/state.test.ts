import t from 'tap'
import { readClaims } from '../../../src/ui/api/token.ts'
import { columns, loadColumns, type TextStorage, toggleColumn } from '../../../src/ui/state/table/columns.ts'
import { isShown, noFilters, toFragment, toListQuery, toPlace } from '../../../src/ui/state/table/filters.ts'
import { toAge, toSize, toSpan, toTime, toVisible } from '../../../src/ui/state/format.ts'
import { toFileName } from '../../../src/ui/state/job/preview.ts'
import { createSession } from '../../../src/ui/state/session.ts'
import { token } from '../../helpers/tokens.ts'
import { makeJob } from './jobs.ts'

const createStorage = (texts: Record<string, string> = {}): TextStorage => ({
  getItem: key => texts[key] ?? null,
  setItem: (key, text) => { texts[key] = text },
  removeItem: key => { delete texts[key] }
})

t.test('a place survives its way through the address', t => {
  const filters = { states: ['failed', 'cancelled'], type: 'a&b=c', age: '1h', idPrefix: 'x#y?' } as const
  for (const place of [
    { view: 'jobs', filters }, { view: 'jobs', filters: noFilters }, { view: 'service' },
    { view: 'job', jobId: 'a~b.c-d_e' }, { view: 'job', jobId: '%2F' }
  ] as const) t.same(toPlace(toFragment(place)), place)
  for (const odd of ['', '#', '#/nowhere', '#/jobs/', '#/?age=toString&state=dead,,', '#/?%']) {
    t.same(toPlace(odd), { view: 'jobs', filters: noFilters }, odd)
  }
  t.same(toPlace('#/jobs/%'), { view: 'job', jobId: '%' })
  t.end()
})

t.test('filters are the parameters of the list, and decide the same about a change', t => {
  const filters = { states: ['running', 'failed'], type: 'report', age: '5m', idPrefix: 'ab' } as const
  t.equal(
    String(toListQuery(filters, Date.parse('2026-03-01T09:05:00Z'))),
    'status=running%2Cfailed&type=report&createdAfter=2026-03-01T09%3A00%3A00.000Z&idPrefix=ab'
  )
  t.equal(String(toListQuery(noFilters, 0)), '')
  const job = makeJob({ taskId: 'abc', status: 'running', createdAt: '2026-03-01T09:00:00.000Z' })
  const at = Date.parse('2026-03-01T09:04:00Z')
  t.equal(isShown(job, filters, at), true)
  t.equal(isShown(job, filters, at + 60_000), false, 'too old')
  t.equal(isShown({ ...job, status: 'queued' }, filters, at), false)
  t.equal(isShown({ ...job, type: null }, filters, at), false)
  t.equal(isShown({ ...job, taskId: 'xabc' }, filters, at), false)
  t.equal(isShown({ ...job, type: null }, noFilters, at), true)
  t.end()
})

t.test('columns are remembered, also for a release that knows more of them', t => {
  const storage = createStorage()
  const shown = toggleColumn(storage, loadColumns(storage), 'age')
  t.same(shown, columns.filter(column => column !== 'age'))
  t.same(loadColumns(storage), shown)
  t.same(toggleColumn(storage, shown, 'age'), columns)
  t.same(toggleColumn(storage, columns, 'id'), columns, 'the id stays')
  t.end()
})

t.test('a token says whose it is, what it opens and until when', t => {
  const claims = readClaims(token({ sub: 'jürgen', tenant: 'büro', scope: 'jobs:read', expiresIn: 60_000 }))
  t.match(claims, { subject: 'jürgen', tenant: 'büro', scopes: ['jobs:read'] })
  t.ok((claims?.expiresAt ?? 0) > Date.now())
  t.same(readClaims(token({ sub: 'me' }))?.scopes, ['jobs:read', 'jobs:write'], 'what the service grants without a claim')
  t.same(readClaims(token({ sub: 'me', scp: ['jobs:read'] }))?.scopes, ['jobs:read'])
  for (const text of ['', 'x', 'a.b.c', `a.${btoa('{}')}.c`, `a.${btoa('null')}.c`]) t.equal(readClaims(text), null, text)
  t.end()
})

t.test('a session asks for a token when there is none, when it expires and when it is rejected', t => {
  const storage = createStorage()
  let changes = 0
  const session = createSession(storage, () => { changes++ })
  t.match(session.problem(), /Paste/)
  t.equal(session.enter('garbage'), false)
  t.match(session.problem(), /not a token/)
  const first = token({ expiresIn: 60_000 })
  t.equal(session.enter(` Bearer ${first}\n`), true, 'with what is copied beside it')
  t.equal(session.problem(), null)
  t.equal(createSession(storage, () => {}).token(), first, 'a reload keeps it')
  session.reject('another', 'late')
  t.equal(session.problem(), null, 'the rejection of a token that was replaced')
  session.checkExpiry(Date.now())
  t.equal(session.problem(), null)
  session.checkExpiry(Date.now() + 61_000)
  t.match(session.problem(), /expired/)
  session.enter(token({ scope: 'jobs:read' }))
  t.same([session.has('jobs:read'), session.has('jobs:write')], [true, false])
  session.reject(session.token() ?? '', 'wrong signature')
  t.match(session.problem(), /wrong signature/)
  session.leave()
  t.equal(storage.getItem('job-status.token'), null)
  t.ok(changes > 4)
  t.end()
})

t.test('texts of numbers, times and names', t => {
  t.same([0, 940, 9_990, 59_600, 61_000, 3_700_000, 90_000_000].map(toSpan),
    ['0.0 s', '0.9 s', '10.0 s', '1 min 0 s', '1 min 1 s', '1 h 1 min', '1 d 1 h'])
  t.same([null, Number.NaN].map(toSpan), ['–', '–'])
  t.same([-5, 59_999, 60_000, 7_200_000, 172_800_000].map(toAge), ['0 s', '59 s', '1 min', '2 h', '2 d'])
  t.same([0, 999, 1000, 123_456, 5e9].map(toSize), ['0 B', '999 B', '1.0 kB', '123 kB', '5.0 GB'])
  t.match(toTime('2026-03-01T09:00:00Z'), /^2026-0\d-\d\d \d\d:\d\d:00$/)
  t.equal(toTime(null), '–')
  t.equal(toVisible('a\u202Eb\n'), 'a\uFFFDb\uFFFD')
  t.equal(toFileName('attachment; filename="a_.csv"; filename*=UTF-8\'\'%C3%A4.csv', 'x'), 'ä.csv')
  t.equal(toFileName('inline; filename="report.csv"', 'x'), 'report.csv')
  t.equal(toFileName('attachment; filename="plain"; filename*=UTF-8\'\'%', 'x'), 'plain')
  t.equal(toFileName(null, 'x'), 'x')
  t.end()
})
