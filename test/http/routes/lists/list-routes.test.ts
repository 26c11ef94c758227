import t, { type Test } from 'tap'
import type { Json } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'
import type { TokenClaims } from '../../../helpers/tokens.ts'
import { forceRow, insertRows } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, sql } = service

type Page = { items: Json[], nextCursor: string | null }
const list = (query = '', claims?: TokenClaims): Promise<Page> => askJson(
  `/api/v1/jobs${query}`, claims === undefined ? {} : { claims }
)
const idsOf = ({ items }: Page): string[] => items.map(({ jobId }) => jobId)

/** The ids of every page, in order. */
const readAll = async (query: string, claims?: TokenClaims): Promise<string[][]> => {
  const pages: string[][] = []
  for (let cursor: string | null = ''; cursor !== null && pages.length < 100;) {
    const page: Page = await list(`${query}${cursor === '' ? '' : `&cursor=${cursor}`}`, claims)
    pages.push(idsOf(page))
    cursor = page.nextCursor
  }
  return pages
}

const expect400 = async (t: Test, query: string, field: string, rule: string) => {
  const answer = await ask(`/api/v1/jobs?${query}`)
  t.equal(answer.status, 400, query)
  const { code, errors, detail }: Json = await answer.json()
  t.equal(code, 'VALIDATION_FAILED')
  t.same(errors.map((error: Json) => [error.field, error.rule]), [[field, rule]], query)
  t.ok(detail.includes(field))
}

await insertRows(service,
  { jobId: 'one', status: 'Queued', type: 'report', createdAt: '2026-01-01T00:00:00Z' },
  { jobId: 'two', status: 'Running', type: 'report', createdAt: '2026-01-02 00:00:00', tenant: 'tester' },
  {
    jobId: 'three',
    status: 'Failed',
    type: 'export',
    createdAt: '2026-01-03T02:00:00+02:00',
    tenant: 'tester',
    errorDetails: '{"code":"E","message":"m"}'
  },
  {
    jobId: 'four',
    status: 'Succeeded',
    type: 'export',
    createdAt: '2026-01-04',
    tenant: 'tester',
    resultUrl: 'https://example.org/a'
  },
  { jobId: 'five', status: 'Failed', type: 'report', createdAt: '2026-01-05', tenant: 'acme' },
  { jobId: 'six', status: 'Failed', createdAt: 'long ago', tenant: 'tester' },
  { jobId: 'gone', status: 'Failed', createdAt: '2026-01-06', tenant: 'tester' })
await sql("DELETE FROM JobExecutionLog WHERE jobId = 'gone'")

t.test('lists jobs newest first, each equal to its single read, without erased ones', async t => {
  const answer = await ask('/api/v1/jobs')
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-type'), /^application\/json/)
  t.equal(answer.headers.get('cache-control'), 'private, no-store')
  t.equal(answer.headers.get('vary'), 'Authorization, Accept')
  const page = await answer.json() as Page
  t.same(Object.keys(page), ['items', 'nextCursor'])
  t.same(idsOf(page), ['six', 'four', 'three', 'two', 'one'], 'without a readable time, the insertion counts')
  t.same(page.items, await Promise.all(idsOf(page).map(id => askJson(`/api/v1/jobs/${id}`))))
  t.equal(page.nextCursor, null)
})

t.test('lists jobs of the own tenant and of no tenant; an admin sees all', async t => {
  t.same(idsOf(await list('', { tenant: 'acme' })), ['five', 'one'])
  t.same(idsOf(await list('', { tenant: 'globex' })), ['one'])
  t.same(idsOf(await list('', { scope: 'jobs:read jobs:admin' })), ['six', 'five', 'four', 'three', 'two', 'one'])
  t.equal((await ask('/api/v1/jobs', { claims: { scope: 'jobs:write jobs:work jobs:admin' } })).status, 403)
  t.equal((await ask('/api/v1/jobs', { headers: { authorization: '' } })).status, 401)
})

t.test('a row whose tenant is an empty text is like one without a tenant', async t => {
  await insertRows(service, { jobId: 'ownerless', status: 'Failed', type: '', createdAt: 1735689600, tenant: '' })
  const claims = { tenant: 'globex' }
  t.same(idsOf(await list('', claims)), ['one', 'ownerless'])
  t.equal((await ask('/api/v1/jobs/ownerless', { claims })).status, 200)
  t.equal((await ask('/api/v1/jobs/ownerless', { method: 'DELETE', claims })).status, 403)
  t.same(idsOf(await list('?type=')), [], 'nor is an empty text a type')
  const admin = { scope: 'jobs:write jobs:admin' }
  t.equal((await ask('/api/v1/jobs/ownerless', { method: 'DELETE', claims: admin })).status, 204)
  t.equal((await ask('/api/v1/jobs/ownerless', { claims })).status, 410)
})

t.test('filters by status, type and createdAfter, alone and combined', async t => {
  const cases: Array<[string, string[]]> = [
    ['status=Failed', ['six', 'three']],
    ['status=Queued', ['one']],
    ['type=report', ['two', 'one']],
    ['type=nothing', []],
    ['type=', []],
    ['createdAfter=2026-01-02', ['six', 'four', 'three']],
    ['createdAfter=2026-01-01T23:59:59.999Z', ['six', 'four', 'three', 'two']],
    ['createdAfter=2026-01-03T01:00:00%2B01:00', ['six', 'four']],
    ['createdAfter=2026-W01-5', ['six', 'four', 'three']],
    ['createdAfter=0000-01-01', ['six', 'four', 'three', 'two', 'one']],
    ['status=Queued,Running,Queued', ['two', 'one']],
    ['createdBefore=2026-01-03', ['two', 'one']],
    ['createdBefore=2026-01-03T00:00:00.001Z', ['three', 'two', 'one']],
    ['createdAfter=2026-01-01&createdBefore=2026-01-03', ['two']],
    ['idPrefix=t', ['three', 'two']],
    ['idPrefix=T', []],
    ['idPrefix=%25', []],
    ['idPrefix=', ['six', 'four', 'three', 'two', 'one']],
    ['status=Failed&_=1700000000', ['six', 'three']],
    ['status=Failed&type=export&createdAfter=2026-01-01', ['three']]
  ]
  for (const [query, expected] of cases) t.same(idsOf(await list(`?${query}`)), expected, query)
  const jobId = await service.submit('to-cancel', null)
  await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })
  t.same(idsOf(await list('?status=Failed&limit=1')), [jobId], 'a cancelled job is Failed')
  await ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE' })
})

t.test('the cursor leads through all pages, and is null on the last', async t => {
  t.same(await readAll('?limit=2'), [['six', 'four'], ['three', 'two'], ['one']])
  t.same(await readAll('?limit=1&status=Failed'), [['six'], ['three']])
  t.same(await readAll('?limit=5'), [['six', 'four', 'three', 'two', 'one']])
  t.same(await readAll('?limit=1&createdBefore=2026-01-04'), [['three'], ['two'], ['one']])
  const { nextCursor } = await list('?limit=1')
  t.same(idsOf(await list(`?createdBefore=2026-01-02&cursor=${nextCursor}`)), ['one'], 'a cursor of another list')
  t.match((await list('?limit=1')).nextCursor, /^[A-Za-z0-9_-]+$/)
})

t.test('a page has 50 jobs by default and 200 at most', async t => {
  await sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 260)
    INSERT INTO JobExecutionLog (jobId, status, tenant, createdAt) SELECT 'many-' || i, 'Queued', 'many', '2026-01-01' FROM n`)
  const claims = { tenant: 'many' }
  t.equal((await list('', claims)).items.length, 50)
  t.equal((await list('?limit=200', claims)).items.length, 200)
  const pages = await readAll('?limit=200', claims)
  t.equal(new Set(pages.flat()).size, 261)
  for (const [limit, rule] of [
    ['0', 'minimum'], ['-1', 'minimum'], ['201', 'maximum'], ['1.5', 'type'], ['x', 'type'], ['', 'type'],
    ['5&limit=6', 'type']
  ]) {
    await expect400(t, `limit=${limit}`, 'limit', rule ?? '')
  }
})

t.test('a cursor stays valid when rows are inserted and its own row is deleted', async t => {
  const claims = { tenant: 'pager' }
  const add = (jobId: string, createdAt: string) => insertRows(service, {
    jobId, status: 'Queued', tenant: 'pager', createdAt
  })
  for (const n of [1, 2, 3, 4]) await add(`p-${n}`, `2027-01-0${n}T00:00:00Z`)
  const first = await list('?limit=2', claims)
  t.same(idsOf(first), ['p-4', 'p-3'])
  await add('p-newer', '2027-02-01')
  await sql("DELETE FROM JobExecutionLog WHERE jobId = 'p-3'")
  t.same(idsOf(await list(`?limit=2&cursor=${first.nextCursor}`, claims)), ['p-2', 'p-1'])
})

t.test('a cursor of a release that listed by rowid is answered with 400, and the text says to start again', async t => {
  for (const position of ['1772355600000 41', '-1 1', 'none 7']) {
    const cursor = Buffer.from(position).toString('base64url')
    await expect400(t, `cursor=${cursor}`, 'cursor', 'format')
    const { detail }: Json = await (await ask(`/api/v1/jobs?cursor=${cursor}`)).json()
    t.match(detail, /start the list again without a cursor/, position)
  }
})

t.test('rejects forged cursors, invalid filters and unknown parameters with 400', async t => {
  const { nextCursor } = await list('?limit=1')
  const forged = ['', 'x', '!', `${nextCursor}A`, `${nextCursor}=`, Buffer.from('1')
    .toString('base64url'), Buffer.from('1 x').toString('base64url'),
  Buffer.from('01 1').toString('base64url'), Buffer.from('1 -1').toString('base64url'),
  Buffer.from('1e3 1').toString('base64url'),
  ...['1 seq', '1 seq x', '01 seq 1', '1 seq -1', '1e3 seq 1', '99999999999999999 seq 1', ' 1 seq 1', '1  seq 1',
    '100000000000000000000 seq 5', '-100000000000000000000 seq 5', '5 seq 100000000000000000000']
    .map(text => Buffer.from(text).toString('base64url')),
  Buffer.from('99999999999999999 1').toString('base64url'), 'A'.repeat(5000)]
  for (const cursor of forged) await expect400(t, `cursor=${cursor}`, 'cursor', 'format')
  for (const field of ['type', 'idPrefix']) await expect400(t, `${field}=a%00`, field, 'pattern')
  for (const time of ['', 'yesterday', '2026-13-01', '12:00', '2026-01-01T00:00:00+01:00']) {
    await expect400(t, `createdAfter=${time}`, 'createdAfter', 'format')
    await expect400(t, `createdBefore=${time}`, 'createdBefore', 'format')
  }
  for (const status of ['queued', 'Cancelled', '', 'Queued,', 'Queued,queued', 'Queued Failed']) {
    await expect400(t, `status=${status}`, 'status', 'pattern')
  }
  t.equal((await ask('/api/v1/jobs?status=Queued&status=Failed')).status, 400)
  for (const name of ['Status', 'page', 'offset', 'tenant', 'ids[]', 'constructor']) {
    await expect400(t, `${name}=1`, name, 'additionalProperties')
  }
})

/** The data of a list of tasks. */
const listTasks = async (query: string): Promise<Json> => {
  const { success, data, ...rest } = await askJson(`/api/jobs?${query}`)
  t.same([success, Object.keys(rest)], [true, []])
  return data
}

t.test('lists the same jobs as tasks, in the envelope', async t => {
  const page = await listTasks('limit=2')
  t.same(Object.keys(page), ['items', 'nextCursor'])
  t.same(page.items.map(({ taskId }: Json) => taskId), ['six', 'four'])
  t.same(page.items[1], (await askJson('/api/jobs/four/status')).data)
  t.same((await listTasks(`limit=2&cursor=${page.nextCursor}`)).items.map(({ taskId }: Json) => taskId), ['three', 'two'])
  const { items, ...others } = await listTasks('ids=three,gone,nothing,three')
  t.same([items.map(({ taskId }: Json) => taskId), others], [['three'], { notFound: ['nothing'], expired: ['gone'] }])
  const answer = await ask('/api/jobs?status=Failed')
  t.equal(answer.status, 400)
  t.match(await answer.json(), { success: false, error: { code: 'VALIDATION_FAILED' } })
})

t.test('the parameter _ changes no response, on any route that checks its parameters', async t => {
  const claims = { scope: 'jobs:read jobs:write jobs:work' }
  const html = { 'content-type': 'text/html' }
  for (const [target, options, status] of [
    ['/api/v1/jobs?_=1', {}, 200],
    ['/api/v1/jobs?ids=one&_=1', {}, 200],
    ['/api/jobs?limit=1&_=', {}, 200],
    ['/api/v1/jobs/one/result?_=1', {}, 202],
    ['/api/jobs/one/result?_=1&_=2', {}, 202],
    ['/api/sanitize/async?_=1', { method: 'POST', headers: html, body: '<b>x</b>' }, 202],
    ['/api/v1/worker/jobs/one/result?offset=0&_=1', { method: 'PUT', headers: { 'lease-token': 'x' }, body: 'x' }, 409]
  ] as const) t.equal((await ask(target, { ...options, claims })).status, status, target)
})

t.test('a record that breaks BR-001 does not fail the page', async t => {
  await insertRows(service, { jobId: 'good-1', status: 'Queued', tenant: 'broken' })
  await forceRow(service, { jobId: 'bad-status', status: 'Paused', tenant: 'broken' })
  await forceRow(service, { jobId: 'bad-percent', status: 'Running', tenant: 'broken', progressPercent: 150 })
  await insertRows(service, { jobId: 'good-2', status: 'Queued', tenant: 'broken' })
  const pages = await readAll('?limit=2&createdAfter=2026-06-01', { tenant: 'broken' })
  t.same(pages.flat(), ['good-2', 'good-1'])
  for (const jobId of ['bad-status', 'bad-percent']) {
    t.ok(service.logs.some(
      line => line.level >= 50 && line.jobId === jobId && /BR-001/.test(line.msg
      )), `${jobId} is in the log`)
  }
})

t.test('no list shows the input of a job', async t => {
  const jobId = await service.submit('x', { secret: 'of-the-payload' }, { claims: { tenant: 'payload' } })
  const text = await (await ask('/api/v1/jobs?limit=200', { claims: { tenant: 'payload' } })).text()
  t.ok(text.includes(jobId))
  t.notMatch(text, /of-the-payload/)
})
