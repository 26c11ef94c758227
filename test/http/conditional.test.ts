import t from 'tap'
import { startService } from '../helpers/service.ts'
import { insertRows, storeReads, whole } from './rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask } = service
const both = (id: string) => [`/api/v1/jobs/${id}`, `/api/jobs/${id}/status`]

await insertRows(service,
  { jobId: 'queued', status: 'Queued' },
  { jobId: 'running', status: 'Running', progressPercent: 42.9, etaSeconds: 20 },
  { jobId: 'succeeded', status: 'Succeeded' },
  { jobId: 'failed', status: 'Failed', progressPercent: 7 },
  { jobId: 'cancelled', status: 'Failed', cancelledAt: '2026-01-01T00:00:00Z', progressPercent: 8 })

const eTagOf = async (path: string) => (await ask(path)).headers.get('etag') ?? ''
const condition = (eTag: string) => ({ headers: { 'if-none-match': eTag } })

t.test('both views send ETag, Cache-Control, Vary, Job-State and Job-Progress', async t => {
  const expected = { queued: 0, running: 42, succeeded: 100, failed: 7, cancelled: 8 }
  for (const [id, percent] of Object.entries(expected)) {
    for (const path of both(id)) {
      const { headers } = await ask(path)
      t.match(headers.get('etag'), /^"[0-9a-f]+\.\d+\.\d+"$/, path)
      t.equal(headers.get('cache-control'), 'private, no-cache')
      t.equal(headers.get('vary'), 'Authorization, Accept')
      t.equal(headers.get('job-state'), id)
      t.equal(headers.get('job-progress'), String(percent))
    }
  }
})

t.test('sends Retry-After and retry-after-ms until the job has finished', async t => {
  for (const path of [...both('queued'), ...both('running')]) {
    const { headers } = await ask(path)
    const seconds = Number(headers.get('retry-after'))
    const ms = Number(headers.get('retry-after-ms'))
    t.ok(Number.isInteger(seconds) && seconds >= 1, path)
    t.ok(Number.isInteger(ms) && ms >= 1 && ms <= seconds * 1000)
  }
  t.equal((await ask('/api/v1/jobs/running')).headers.get('retry-after'), '5', 'a quarter of the estimate')
  for (const path of [...both('succeeded'), ...both('failed'), ...both('cancelled')]) {
    const { headers } = await ask(path)
    t.notOk(headers.has('retry-after') || headers.has('retry-after-ms'), path)
  }
})

t.test('Link lists the routes of the job that exist, in the same view', async t => {
  const own = await service.submit('unclaimed', null)
  await insertRows(service, { jobId: 'elsewhere', status: 'Succeeded', resultUrl: 'https://example.org/a' })
  const expected = {
    [own]: ['status', 'result', 'cancel'],
    queued: ['status', 'result'],
    running: ['status', 'result'],
    succeeded: ['status'],
    elsewhere: ['status', 'result'],
    failed: ['status']
  }
  for (const [id, rels] of Object.entries(expected)) {
    for (const path of both(id)) {
      const link = (await ask(path)).headers.get('link') ?? ''
      const links = [...link.matchAll(/<([^>]+)>; rel="(\w+)"/g)].map(([, target = '', rel = '']) => ({ target, rel }))
      t.same(links.map(({ rel }) => rel), rels, path)
      t.equal(links[0]?.target, path)
      for (const { target, rel } of links) {
        const answer = await ask(target, { method: rel === 'cancel' ? 'POST' : 'GET', claims: { scope: 'jobs:read' } })
        t.equal(answer.status, {
          status: 200, result: id === 'elsewhere' ? 303 : 202, cancel: 403
        }[rel], `${rel}: ${target}`)
      }
    }
  }
})

t.test('a matching If-None-Match is 304, without a body and without a store read', async t => {
  for (const path of both('running')) {
    const eTag = await eTagOf(path)
    const before = await storeReads(service)
    for (const header of [eTag, `W/${eTag}`, '*', ' * ', `"a", ${eTag}`, `W/"a",W/${eTag} , "b"`, `"a,b", ${eTag}`]) {
      const answer = await ask(path, condition(header))
      t.equal(answer.status, 304, header)
      t.equal(await answer.text(), '')
      t.equal(answer.headers.get('etag'), eTag)
      t.equal(answer.headers.get('cache-control'), 'private, no-cache')
      t.equal(answer.headers.get('vary'), 'Authorization, Accept')
      t.ok(answer.headers.has('retry-after'), 'the time of the next poll')
      t.notOk(answer.headers.has('content-type'))
    }
    t.ok(await storeReads(service) - before <= 1, 'served from the cache, unless the entry has just expired')
  }
})

t.test('an If-None-Match that does not match or is invalid is 200', async t => {
  const eTag = await eTagOf('/api/v1/jobs/queued')
  for (const header of ['"other"', 'W/"other", "another"', eTag.slice(1, -1), eTag.toUpperCase()
    .replace(/\d/, '9'), '', '"', ',,,', '**', 'null']) {
    t.equal((await ask('/api/v1/jobs/queued', condition(header))).status, 200, header)
  }
})

t.test('the ETag changes when the job changes, and only then', async t => {
  await insertRows(service, { jobId: 'changing', status: 'Queued' })
  const first = await eTagOf('/api/v1/jobs/changing')
  t.equal(await eTagOf('/api/v1/jobs/changing'), first)
  await service.sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'changing'")
  const [, incarnation, version] = /^"(\w+)\.(\d+)\./.exec(first) ?? []
  const answer = await ask('/api/v1/jobs/changing', condition(`"${incarnation}.${Number(version) + 1}.0"`))
  t.equal(answer.status, 200)
  t.not(answer.headers.get('etag'), first)
  t.equal((await ask('/api/v1/jobs/changing', condition(first))).status, 200, 'the old ETag no longer matches')
})

t.test('an ETag newer than the cached entry makes the read bypass the cache', async t => {
  await insertRows(service, { jobId: 'ahead', status: 'Queued' })
  t.equal((await ask('/api/v1/jobs/ahead')).headers.get('job-state'), 'queued')
  await service.sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'ahead'")
  const version = await service.sql("SELECT version FROM JobExecutionLog WHERE jobId = 'ahead'")
  const incarnation = (await eTagOf('/api/v1/jobs/queued')).slice(1).split('.')[0]
  // A client that has seen the change elsewhere must see it here, whether or not the relay has invalidated the entry yet.
  const answer = await ask('/api/v1/jobs/ahead', condition(`"${incarnation}.${version}.0"`))
  t.equal(answer.headers.get('job-state'), 'running')
})

t.test('a forged ETag of a future version gets the current status and costs one store read', async t => {
  await insertRows(service, { jobId: 'forged', status: 'Succeeded' })
  const eTag = await eTagOf('/api/v1/jobs/forged')
  const [incarnation, , representation] = eTag.slice(1, -1).split('.')
  const before = await storeReads(service)
  for (let at = 0; at < 10; at++) {
    for (const path of both('forged')) {
      const answer = await ask(path, condition(`"${incarnation}.999999999.${representation}"`))
      t.equal(answer.status, 200)
      t.equal(answer.headers.get('etag'), eTag)
      t.equal(answer.headers.get('job-state'), 'succeeded')
    }
  }
  t.equal(await storeReads(service) - before, 1)
})

t.test('ignores an ETag of another incarnation', async t => {
  const eTag = await eTagOf('/api/v1/jobs/forged')
  const before = await storeReads(service)
  for (const header of [
    '"0123456789abcdef.999999999.1"', `"f${eTag.slice(1)}`, '"999999999"', '"a.b.c"', `"${'9'.repeat(400)}.1.1"`
  ]) {
    t.equal((await ask('/api/v1/jobs/forged', condition(header))).status, 200, header.slice(0, 40))
  }
  t.equal(await storeReads(service), before)
})

t.test('an ETag for an id that does not exist is 404', async t => {
  const eTag = await eTagOf('/api/v1/jobs/queued')
  for (const header of [eTag, '*', eTag.replace(/\.\d+\./, '.999999999.')]) {
    t.equal((await ask('/api/v1/jobs/not-there', condition(header))).status, 404, header)
  }
})

t.test('HEAD equals GET without the body, content-length included', async t => {
  const paths = ['queued', 'running', 'succeeded', 'failed', 'not-there'].flatMap(both)
  for (const path of [...paths, '/api/jobs/a%20b/status', '/livez', '/api/nothing']) {
    const { body, ...get } = await whole(await ask(path))
    const { body: none, ...head } = await whole(await ask(path, { method: 'HEAD' }))
    t.same(head, get, path)
    t.equal(none, '')
    t.equal(head.headers['content-length'], String(Buffer.byteLength(body)), path)
  }
  const eTag = await eTagOf('/api/v1/jobs/queued')
  t.equal((await ask('/api/v1/jobs/queued', { method: 'HEAD', ...condition(eTag) })).status, 304)
})

t.test('a deleted row is 410 JOB_EXPIRED with the time, and 404 for another tenant', async t => {
  await insertRows(service, { jobId: 'erased', status: 'Failed', tenant: 'tester' })
  await service.sql("DELETE FROM JobExecutionLog WHERE jobId = 'erased'")
  const expiredAt = await service.sql("SELECT expiredAt FROM JobTombstone WHERE jobId = 'erased'")
  for (const path of ['/api/v1/jobs/erased', '/api/v1/jobs/erased/result']) {
    const answer = await ask(path)
    t.equal(answer.status, 410)
    t.same(await answer.json(), {
      type: 'about:blank',
      title: 'The job is gone',
      status: 410,
      detail: 'The record of this job has been removed.',
      instance: path,
      code: 'JOB_EXPIRED',
      expiredAt
    })
  }
  for (const path of ['/api/jobs/erased/status', '/api/jobs/erased/result']) {
    const answer = await ask(path, condition('*'))
    t.equal(answer.status, 410, 'also with If-None-Match: *')
    t.match(await answer.json(), { success: false, error: { code: 'JOB_EXPIRED', details: { expiredAt } } })
  }
  for (const path of both('erased')) t.equal((await ask(path, { claims: { tenant: 'other' } })).status, 404)
})
