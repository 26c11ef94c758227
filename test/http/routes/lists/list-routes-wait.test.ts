import t from 'tap'
import type { Json } from '../../../helpers/client.ts'
import { type Service, startService } from '../../../helpers/service.ts'
import { until } from '../../../helpers/until.ts'
import { awaitWaiting, countWaiting } from '../../../helpers/waiting.ts'
import { insertRows } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, sql } = service

let jobs = 0
const newJobs = async (count: number, status = 'Running') => {
  const ids = Array.from({ length: count }, () => `job-${++jobs}`)
  await insertRows(service, ...ids.map(jobId => ({ jobId, status, tenant: 'tester' })))
  return ids
}
const set = (jobId: string | undefined, assignment: string) =>
  sql(`UPDATE JobExecutionLog SET ${assignment} WHERE jobId = '${jobId}'`)
const advance = 'progressPercent = coalesce(progressPercent, 0) + 10'
const finish = (jobId: string | undefined) => set(jobId, "status = 'Succeeded'")
const progressOf = async (jobId: string | undefined) =>
  (await ask(`/api/v1/jobs/${jobId}`)).headers.get('job-progress')
const eTagOf = async (path: string) => (await ask(path)).headers.get('etag') ?? ''
const prefixes = ['/api/v1/jobs', '/api/jobs'] as const
const dataOf = ({ data, ...rest }: Json): Json => data ?? rest
const statusesOf = (body: Json) => dataOf(body).items.map(({ status }: Json) => status.toLowerCase())

t.test('the ETag is that of the ids and what is shown of them, in one prefix', async t => {
  const [a, b] = await newJobs(2)
  await insertRows(service, { jobId: 'of-acme', status: 'Running', tenant: 'acme' })
  for (const prefix of prefixes) {
    const path = `${prefix}?ids=${a},${b},of-acme,later`
    const first = await ask(path)
    const eTag = first.headers.get('etag') ?? ''
    t.match(eTag, /^"[\w-]{43}"$/, 'strong')
    t.equal(first.headers.get('cache-control'), 'private, no-cache')
    const same = await ask(path, { headers: { 'if-none-match': `"x", W/${eTag}` } })
    t.equal(same.status, 304)
    t.equal(await same.text(), '')
    t.equal(same.headers.get('etag'), eTag)
    t.ok(same.headers.get('changes-cursor'))
    const others = [
      `${prefix}?ids=${b},${a},of-acme,later`, `${prefix}?ids=${a},${b},of-acme`, `${prefix}?ids=${a},${b},of-acme,never`,
      path.replace(prefix, prefix === '/api/jobs' ? '/api/v1/jobs' : '/api/jobs')
    ]
    for (const other of others) t.not(await eTagOf(other), eTag, other)
    await set('of-acme', 'progressPercent = 10')
    await until(async () => (await ask('/api/v1/jobs/of-acme', { claims: { tenant: 'acme' } })).headers.get('job-progress') === '10')
    t.equal(await eTagOf(path), eTag, 'what happens to a job of another tenant does not show')
    await set('of-acme', 'progressPercent = 0')
    await set(a, advance)
    await until(async () => await eTagOf(path) !== eTag, 'a change shows')
  }
})

t.test('If-Match is evaluated, on a page too', async t => {
  const [a] = await newJobs(1)
  const path = `/api/v1/jobs?ids=${a}`
  const ask412 = async (path: string, eTag: string) => (await ask(path, { headers: { 'if-match': eTag } })).status
  t.equal(await ask412(path, await eTagOf(path)), 200)
  t.equal(await ask412(path, '"x"'), 412)
  t.equal(await ask412('/api/v1/jobs', '"x"'), 412)
  t.equal((await ask('/api/v1/jobs?type=none', { headers: { 'if-none-match': '*' } })).status, 200)
})

t.test('without If-None-Match the end of all is awaited, by one client for all ids', async t => {
  for (const prefix of prefixes) {
    const [a, b, gone] = await newJobs(3)
    const [ended] = await newJobs(1, 'Succeeded')
    const waiting = ask(`${prefix}?ids=${a},${ended},no-such-job,${b},${gone}&wait=50`)
    await awaitWaiting(service, 1)
    await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${gone}'`)
    await finish(a)
    await set(b, 'progressPercent = 50')
    await until(async () => await progressOf(b) === '50')
    t.equal(await countWaiting(service), 1)
    await finish(b)
    const answer = await waiting
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('preference-applied'), 'wait=50')
    const body = await answer.json()
    t.same(statusesOf(body), ['succeeded', 'succeeded', 'succeeded'])
    t.match(dataOf(body), { notFound: ['no-such-job'], expired: [gone] })
    await awaitWaiting(service, 0)
    const again = await ask(`${prefix}?ids=${a},no-such-job,${gone}&wait=50`)
    t.equal(again.status, 200, 'all are final: at once')
  }
})

t.test('a job that comes into being while others are awaited is awaited too', async t => {
  const [a] = await newJobs(1)
  const waiting = ask(`/api/v1/jobs?ids=${a},new-1&wait=50`, { headers: { 'if-none-match': '*' } })
  await awaitWaiting(service, 1)
  await insertRows(service, { jobId: 'new-1', status: 'Running' })
  await until(async () => (await ask('/api/v1/jobs/new-1')).status === 200)
  await finish(a)
  await until(async () => (await askJson(`/api/v1/jobs/${a}`)).status === 'Succeeded')
  t.equal(await countWaiting(service), 1)
  await finish('new-1')
  t.equal((await waiting).status, 304, 'If-None-Match: * waits for the end, and then wants no body')
})

/** Waits with the ETag of the state before a change, makes the change, and returns the answer. */
const acrossChange = async ({ ask }: Pick<Service, 'ask'>, path: string, change: () => Promise<unknown>) => {
  const eTag = (await ask(path)).headers.get('etag') ?? ''
  const waiting = ask(`${path}&wait=50`, { headers: { 'if-none-match': eTag } })
  await awaitWaiting(service, 1)
  await change()
  const answer = await waiting
  return { status: answer.status, body: await answer.json() as Json }
}

t.test('with If-None-Match any change is awaited, also of what is unknown or given to others', async t => {
  const [a, b] = await newJobs(2)
  for (const prefix of prefixes) {
    const unknown = `unknown-${prefix.length}`
    const path = `${prefix}?ids=${a},${b},${unknown}`
    const changed = await acrossChange(service, path, () => set(b, advance))
    t.equal(changed.status, 200)
    t.same(statusesOf(changed.body), ['running', 'running'])
    const created = await acrossChange(service, path, () => insertRows(service, { jobId: unknown, status: 'Queued' }))
    t.same(statusesOf(created.body), ['running', 'running', 'queued'])
    const moved = await acrossChange(service, path, () => set(unknown, "tenant = 'acme'"))
    t.same(dataOf(moved.body).notFound, [unknown])
    const back = await acrossChange(service, path, () => set(unknown, "tenant = 'tester'"))
    t.same(dataOf(back.body).notFound, [])
    const erased = await acrossChange(service, path, () => sql(`DELETE FROM JobExecutionLog WHERE jobId = '${unknown}'`))
    t.same(dataOf(erased.body).expired, [unknown])
  }
  const older = await ask(`/api/v1/jobs?ids=${a}&wait=50`, { headers: { 'if-none-match': '"x"' } })
  t.equal(older.status, 200, 'the client has something else: at once')
})

t.test('a change of another tenant\'s job wakes nobody', async t => {
  await insertRows(service, { jobId: 'foreign', status: 'Running', tenant: 'acme' })
  const path = '/api/v1/jobs?ids=foreign'
  const headers = { 'if-none-match': await eTagOf(path) }
  const waiting = ask(`${path}&wait=50`, { headers })
  await awaitWaiting(service, 1)
  await finish('foreign')
  const asAcme = { claims: { tenant: 'acme' } }
  await until(async () => (await askJson('/api/v1/jobs/foreign', asAcme)).status === 'Succeeded')
  t.equal(await countWaiting(service), 1)
  await set('foreign', 'tenant = NULL')
  t.match(await (await waiting).json(), { items: [{ jobId: 'foreign', status: 'Succeeded' }] })
})

t.test('at the limit the current state is sent, 304 where the client has it', async t => {
  const [a] = await newJobs(1)
  const path = `/api/v1/jobs?ids=${a}`
  const answer = await ask(`${path}&wait=0.05`)
  t.equal(answer.headers.get('preference-applied'), 'wait=0.05')
  t.match(await answer.json(), { items: [{ status: 'Running' }] })
  const headers = { 'if-none-match': answer.headers.get('etag') ?? '', prefer: 'wait=0' }
  const same = await ask(path, { headers })
  t.equal(same.status, 304)
  t.equal(same.headers.get('preference-applied'), 'wait=0')
  t.equal((await ask(`${path}&wait=0.05`, { headers })).status, 304)
  const head = await ask(`${path}&wait=0.05`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers.get('preference-applied'), 'wait=0.05')
})

t.test('the place in the log of changes is one of the time of the answer', async t => {
  const [a, b] = await newJobs(2)
  const cursors = [(await ask(`/api/v1/jobs?ids=${a}`)).headers.get('changes-cursor')]
  const waiting = ask(`/api/v1/jobs?ids=${a}&wait=50`)
  await awaitWaiting(service, 1)
  await finish(b)
  await until(async () => {
    const cursor = (await ask(`/api/v1/jobs?ids=${a}`)).headers.get('changes-cursor')
    return cursor !== cursors[0] && cursors.push(cursor)
  })
  await finish(a)
  const cursor = (await waiting).headers.get('changes-cursor')
  t.notOk(cursors.includes(cursor), 'it is not that of the beginning')
})

t.test('a page of the list does not wait', async t => {
  t.match(await askJson('/api/v1/jobs?wait=1'), {
    code: 'VALIDATION_FAILED', errors: [{ field: 'wait', message: 'wait needs ids: a page of the list does not wait' }]
  })
  t.match(await askJson('/api/jobs?wait=0'), { error: { code: 'VALIDATION_FAILED' } })
  const preferred = await ask('/api/v1/jobs?limit=1', { headers: { prefer: 'wait=50' } })
  t.equal(preferred.status, 200, 'a preference may be ignored')
  t.equal(preferred.headers.get('preference-applied'), null)
})
