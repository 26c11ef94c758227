import t from 'tap'
import { createWorkerClient, type Json, jsonOf, workerClaims } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'
import type { TokenClaims } from '../../../helpers/tokens.ts'
import { until } from '../../../helpers/until.ts'
import { awaitWaiting, countWaiting } from '../../../helpers/waiting.ts'
import { forceRow, insertRows } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, sql } = service

type Item = { cursor: string, jobId: string, version: number, job: Json }
type Page = { items: Item[], cursor: string, hasMore: boolean }

const acme: TokenClaims = { tenant: 'acme' }
const other: TokenClaims = { tenant: 'other' }
const admin: TokenClaims = { tenant: 'third', scope: 'jobs:read jobs:admin' }

const feed = (query = '', claims = acme): Promise<Page> => askJson(`/api/v1/events${query}`, { claims })
const now = async () => (await feed()).cursor
const since = (cursor: string, more = '', claims = acme) => feed(`?since=${cursor}${more}`, claims)
const gist = ({ items }: Page) => items.map(({ jobId, job }) => `${jobId} ${job === null ? 'gone' : job.status}`)

/** What the feed says after some statements, to the tenant acme, to another and to an admin. */
const seenAfter = async (...statements: string[]) => {
  const cursor = await now()
  await sql(statements.join(';'))
  return { acme: gist(await since(cursor)), other: gist(await since(cursor, '', other)), admin: gist(await since(cursor, '', admin)) }
}

const update = (jobId: string, set: string) => `UPDATE JobExecutionLog SET ${set} WHERE jobId = '${jobId}'`
const remove = (jobId: string) => `DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`
const insert = (jobId: string, tenant: string | null, status = 'Running') =>
  `INSERT INTO JobExecutionLog (jobId, status, tenant, type) VALUES ('${jobId}', '${status}', ${tenant === null ? 'NULL' : `'${tenant}'`}, 'report')`

t.test('without a cursor the feed begins now: no items, and a cursor at once', async t => {
  await sql(insert('before', 'acme'))
  const answer = await ask('/api/v1/events', { claims: acme })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  t.equal(answer.headers.get('etag'), null)
  t.equal(answer.headers.get('preference-applied'), null)
  const page: Page = await jsonOf(answer)
  t.match(page, { items: [], hasMore: false })
  t.match(await since(page.cursor), { items: [], hasMore: false })
  await sql(insert('after', 'acme'))
  t.same(gist(await since(page.cursor)), ['after Running'])
})

t.test('an item has the job as in a list, under both prefixes', async t => {
  const jobId = await service.submit('own-type', {}, { claims: acme })
  const list = await ask('/api/v1/jobs?type=own-type', { claims: acme })
  const { items: [v1] } = await jsonOf(list)
  const { data: { items: [task] } } = await askJson('/api/jobs?type=own-type', { claims: acme })
  await sql(update(jobId, "progressMessage = 'x'"))
  const cursor = list.headers.get('changes-cursor') ?? ''
  const { items: [item] } = await since(cursor, '&type=own-type')
  t.strictSame(Object.keys(item ?? {}), ['cursor', 'jobId', 'version', 'job'])
  t.strictSame([item?.jobId, item?.job], [jobId, v1])
  const asTask = await askJson(`/api/events?since=${cursor}&type=own-type`, { claims: acme })
  t.strictSame(Object.keys(asTask), ['items', 'cursor', 'hasMore'])
  const [taskItem] = asTask.items
  const { version } = item ?? { version: 0 }
  t.strictSame(taskItem, { ...item, job: { ...task, version, progress: { ...task.progress, message: 'x' } } })
})

t.test('the item that shows the end of a job first is its notice', async t => {
  const noticed = async () => /^job_notice_seconds_count (\d+)$/m.exec(await (await fetch(`${service.url}/metrics`)).text())?.[1]
  const worker = createWorkerClient(service, { ...workerClaims, ...acme })
  const jobId = await service.submit('noticed', {}, { claims: acme })
  const cursor = await now()
  const { leaseToken } = await worker.claimed('noticed')
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  t.same(gist(await since(cursor, '&type=other')), [])
  t.equal(await noticed(), '0', 'not by an item that was not sent')
  for (let read = 0; read < 2; read++) {
    t.same(gist(await since(cursor)), [`${jobId} Succeeded`])
    t.equal(await noticed(), '1')
  }
})

t.test('changes of one job are one item, as the job is now', async t => {
  const cursor = await now()
  await sql([insert('a', 'acme'), insert('b', 'acme'), update('a', "status = 'Succeeded'")].join(';'))
  const page = await since(cursor)
  t.same(gist(page), ['b Running', 'a Succeeded'], 'at the place of its last change')
  const [b, a] = page.items
  t.ok((a?.version ?? 0) > (b?.version ?? 0))
  t.same(gist(await since(page.cursor)), [])
  t.same(gist(await since(b?.cursor ?? '')), ['a Succeeded'])
})

t.test('a client that could read a job and no longer can learns that it is gone; others get nothing', async t => {
  const rows: ReadonlyArray<[statements: string[], acme: string[], other: string[], admin: string[]]> = [
    [[insert('j', 'acme')], ['j Running'], [], ['j Running']],
    [[update('j', "progressMessage = '1'")], ['j Running'], [], ['j Running']],
    [[update('j', "tenant = 'other'")], ['j gone'], ['j Running'], ['j Running']],
    [[update('j', "progressMessage = '2'")], [], ['j Running'], ['j Running']],
    [[update('j', "tenant = 'acme'"), update('j', "tenant = 'other'")], ['j gone'], ['j Running'], ['j Running']],
    [[update('j', 'tenant = NULL')], ['j Running'], ['j Running'], ['j Running']],
    [[update('j', "tenant = 'other'")], ['j gone'], ['j Running'], ['j Running']],
    [[remove('j')], [], ['j gone'], ['j gone']],
    [[insert('j', 'acme')], ['j Running'], ['j gone'], ['j Running']],
    [[`${insert('j', 'other')} ON CONFLICT (jobId) DO UPDATE SET tenant = excluded.tenant`], ['j gone'], ['j Running'], ['j Running']],
    [[update('j', "tenant = 'acme'"), remove('j')], ['j gone'], ['j gone'], ['j gone']],
    [["DELETE FROM JobTombstone WHERE jobId = 'j'; INSERT INTO JobChange (jobId) VALUES ('j')"], [], [], []],
    [[insert('j', 'other'), remove('j'), "DELETE FROM JobTombstone WHERE jobId = 'j'"], [], ['j gone'], ['j gone']],
    [[insert('j', 'third'), remove('j')], [], [], ['j gone']]
  ]
  for (const [statements, ...expected] of rows) {
    t.same(Object.values(await seenAfter(...statements)), expected, statements.join('; '))
  }
})

t.test('a job that is gone for a client is not lost when it resumes at any item', async t => {
  const cursor = await now()
  await sql([insert('m', 'acme'), insert('k', 'acme'), update('m', "tenant = 'other'"), update('k', "progressMessage = '1'"),
    update('m', "progressMessage = '1'"), remove('k'), update('m', "progressMessage = '2'")].join(';'))
  const whole = gist(await since(cursor))
  t.same(whole, ['m gone', 'k gone'])
  const found: string[] = []
  for (let place = cursor; ;) {
    const page = await since(place, '&limit=1')
    found.push(...gist(page))
    t.ok(page.items.length <= 1)
    place = page.cursor
    if (!page.hasMore) break
  }
  t.same(found, whole)
})

t.test('a record that breaks BR-001 is left out', async t => {
  const cursor = await now()
  await forceRow(service, { jobId: 'odd', status: 'Paused', tenant: 'acme' })
  await sql(insert('even', 'acme'))
  t.same(gist(await since(cursor)), ['even Running'])
})

t.test('a filter by type passes what is gone', async t => {
  const cursor = await now()
  const types = ['export', 'a "quoted" ü\\\n type', '', null]
  await insertRows(service, ...types.map((type, index) => ({ jobId: `type-${index}`, status: 'Running', tenant: 'acme', type })))
  await sql([insert('typed', 'acme'), remove('typed')].join(';'))
  t.same(gist(await since(cursor, '&type=export')), ['type-0 Running', 'typed gone'])
  t.same(gist(await since(cursor, `&type=${encodeURIComponent(types[1] ?? '')}`)), ['type-1 Running', 'typed gone'])
  t.same(gist(await since(cursor, '&type=null')), ['typed gone'])
})

t.test('pages: a limit, at most 1 MiB, and at most 10,000 changes examined', async t => {
  const cursor = await now()
  await sql(`INSERT INTO JobExecutionLog (jobId, status, tenant, errorDetails)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450)
    SELECT 'big-' || i, 'Failed', 'acme', '${JSON.stringify({ code: 'E', message: 'x'.repeat(3900) })}' FROM n`)
  const ids: string[] = []
  const sizes: number[] = []
  for (let place = cursor; ;) {
    const answer = await ask(`/api/v1/events?since=${place}&limit=1000`, { claims: acme })
    const text = await answer.text()
    t.ok(text.length <= 1024 * 1024)
    const page: Page = JSON.parse(text)
    sizes.push(page.items.length)
    ids.push(...page.items.map(({ jobId }) => jobId))
    place = page.cursor
    if (!page.hasMore) break
  }
  t.ok(sizes.length === 2 && (sizes[0] ?? 0) > 200, `pages of ${sizes.join(' and ')}`)
  t.same(ids, Array.from({ length: 450 }, (_, index) => `big-${index + 1}`))
  const first = await since(cursor)
  t.same([first.items.length, first.hasMore], [100, true], 'a hundred by default')
  const exact = await since(cursor, '&limit=450')
  t.same([exact.items.length, exact.hasMore], [sizes[0], true])

  const before = await now()
  await sql(`INSERT INTO JobExecutionLog (jobId, status, tenant)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050)
    SELECT 'theirs-' || i, 'Queued', 'other' FROM n; ${insert('mine', 'acme')}`)
  const empty = await since(before, '&wait=50')
  t.match(empty, { items: [], hasMore: true }, 'an empty page may have more behind it')
  t.same(gist(await since(empty.cursor)), ['mine Running'])
})

t.test('with wait the response is held until there is an item for the client', async t => {
  for (const path of ['/api/v1/events', '/api/events']) {
    const cursor = await now()
    const asked = [
      ask(`${path}?since=${cursor}&wait=50`, { claims: acme }), ask(`${path}?wait=50`, { claims: acme }),
      ask(`${path}?since=${cursor}`, { claims: acme, headers: { prefer: 'wait=50' } })
    ]
    await awaitWaiting(service, 3)
    await sql(insert(`foreign-${path.length}`, 'other'))
    const mine = `mine-${path.length}`
    await until(async () => (await since(cursor, '', other)).items.length === 1)
    t.equal(await countWaiting(service), 3, 'not for others')
    await sql(insert(mine, 'acme'))
    for (const answer of await Promise.all(asked)) {
      t.equal(answer.headers.get('preference-applied'), 'wait=50')
      const body = await answer.json() as Json
      t.match(body.items, [{ jobId: mine }])
    }
    await awaitWaiting(service, 0)
  }
})

t.test('a wait that ends without an item has a cursor, so that none is missed', async t => {
  const answer = await ask('/api/v1/events?wait=0.05', { claims: acme })
  t.equal(answer.headers.get('preference-applied'), 'wait=0.05')
  const page: Page = await jsonOf(answer)
  t.match(page, { items: [], hasMore: false })
  await sql(insert('later', 'acme'))
  t.same(gist(await since(page.cursor)), ['later Running'])
})

t.test('at the end of its token a wait is 401', async t => {
  const answer = await ask('/api/v1/events?wait=50', { claims: { ...acme, expiresIn: 2000 } })
  t.equal(answer.status, 401)
  t.match(answer.headers.get('www-authenticate'), /invalid_token.*expired/)
})

t.test('what is no cursor of this database is 400, and what is no longer kept is 410', async t => {
  const [incarnation = '', version = ''] = (await now()).split('-')
  for (const text of ['', 'x', '-1', `${incarnation}-`, `${incarnation}-${Number(version) + 1000}`, `${incarnation}-1.5`]) {
    t.match(await feed(`?since=${text}`), { code: 'VALIDATION_FAILED', errors: [{ field: 'since' }] }, text)
    t.match(await askJson(`/api/events?since=${text}`, { claims: acme }), { errors: [{ field: 'since' }] }, text)
  }
  for (const query of ['limit=0', 'limit=1001', 'limit=x', 'wait=-1', 'from=1']) {
    t.match(await feed(`?${query}`), { code: 'VALIDATION_FAILED' }, query)
  }
  t.match(await feed('?since=0123456789abcdef-1'), { code: 'CURSOR_EXPIRED', status: 410 }, 'of another incarnation')
  const cursor = await now()
  await sql(`${insert('p1', 'acme')}; ${insert('p2', 'acme')}`)
  const page = await since(cursor)
  await service.pruneToLastChange()
  t.equal((await ask(`/api/v1/events?since=${cursor}`, { claims: acme })).status, 410)
  const late = await ask(`/api/v1/events?since=${cursor}&wait=50`, { claims: acme })
  t.equal(late.status, 410, 'at once')
  t.same(gist(await since(page.items[0]?.cursor ?? '')), ['p2 Running'], 'the next change is still there')
})

t.test('the feed needs the scope of readers', async t => {
  t.equal((await ask('/api/v1/events', { headers: { authorization: '' } })).status, 401)
  t.equal((await ask('/api/v1/events', { claims: { scope: 'jobs:write' } })).status, 403)
  t.equal((await ask('/api/v1/events?_=17', { claims: acme })).status, 200)
  t.equal((await ask('/api/v1/events', { method: 'POST', claims: acme, body: {} })).status, 405)
})

t.test('a process that drains answers every wait at once, and grants none', async t => {
  const draining = await startService(t, { WORKERS: '0', DRAIN_DELAY_SECONDS: '1' }, `${service.databasePath}.drain`)
  const asked = draining.ask('/api/v1/events?wait=50')
  await awaitWaiting(draining, 1)
  draining.app.onDraining()
  const answer = await asked
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('connection'), 'close')
  t.match(await answer.json(), { items: [], hasMore: false })
  t.equal((await draining.ask('/api/v1/events?wait=50')).headers.get('preference-applied'), 'wait=0')
})
