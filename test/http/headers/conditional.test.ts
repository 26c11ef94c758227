import t from 'tap'
import { createWorkerClient, type Json, workerClaims } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { insertRows, storeReads, whole } from '../rows.ts'

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
    [own]: ['status', 'result', 'cancel', 'events'],
    queued: ['status', 'result', 'events'],
    running: ['status', 'result', 'events'],
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
        const method = { cancel: 'POST', events: 'HEAD' }[rel] ?? 'GET'
        const answer = await ask(target, { method, claims: { scope: 'jobs:read' } })
        t.equal(answer.status, {
          status: 200, result: id === 'elsewhere' ? 303 : 202, cancel: 403, events: 200
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

const send = async (method: string, path: string, headers: Record<string, string>, body?: unknown) => {
  const answer = await ask(path, { method, headers, claims: workerClaims, ...(body === undefined ? {} : { body }) })
  const text = await answer.text()
  const { code, error }: Json = text === '' ? {} : JSON.parse(text)
  return { status: answer.status, code: code ?? error?.code }
}
const failed = { status: 412, code: 'PRECONDITION_FAILED' }

t.test('If-Match on a status is compared strongly; without a match it is 412', async t => {
  for (const path of both('queued')) {
    const eTag = await eTagOf(path)
    for (const header of [eTag, '*', `"a", ${eTag}`]) t.match(await send('GET', path, { 'if-match': header }), { status: 200 })
    for (const header of [`W/${eTag}`, '"a"', '', eTag.slice(1, -1)]) {
      t.match(await send('GET', path, { 'if-match': header }), failed, header)
    }
  }
  t.equal((await send('GET', '/api/v1/jobs/not-there', { 'if-match': '"a"' })).status, 404, 'as without it')
})

t.test('If-Match and If-None-Match decide a cancellation, by the database and not by the cache', async t => {
  for (const [cancelPath, path] of [
    ['/api/v1/jobs/ID/cancel', '/api/v1/jobs/ID'], ['/api/jobs/ID/cancel', '/api/jobs/ID/status']
  ] as const) {
    const jobId = await service.submit('conditional', null)
    const [cancel, status] = [cancelPath.replace('ID', jobId), path.replace('ID', jobId)]
    const old = await eTagOf(status)
    await service.sql(`UPDATE JobExecutionLog SET progressStage = 'x' WHERE jobId = '${jobId}'`)
    const version = await service.sql(`SELECT version FROM JobExecutionLog WHERE jobId = '${jobId}'`)
    const current = old.replace(/\.\d+\./, `.${version}.`)
    for (const headers of [
      { 'if-match': old }, { 'if-match': `W/${current}` }, { 'if-none-match': current }, { 'if-none-match': '*' },
      { 'if-unmodified-since': new Date().toUTCString() }
    ] as Record<string, string>[]) {
      t.match(await send('POST', cancel, headers), failed, JSON.stringify(headers))
    }
    t.equal((await ask(status)).headers.get('job-state'), 'queued')
    t.match(await send('POST', cancel, { 'if-match': current, 'if-none-match': old }), { status: 200 })
    t.match(await send('POST', cancel, { 'if-match': current }), { status: 200 }, 'sent again after a lost response')
  }
  t.match(await send('POST', '/api/v1/jobs/failed/cancel', { 'if-match': '"a"' }), { status: 409 }, 'as without it')
  t.match(await send('POST', '/api/v1/jobs/not-there/cancel', { 'if-match': '"a"' }), { status: 404 })
})

t.test('If-Match decides an erasure', async t => {
  const jobId = await service.submit('conditional', null)
  const path = `/api/v1/jobs/${jobId}`
  const old = await eTagOf(path)
  t.match(await send('DELETE', path, { 'if-match': '"a"' }), { status: 409 }, 'as without it')
  await send('POST', `${path}/cancel`, {})
  t.match(await send('DELETE', path, { 'if-match': old }), failed)
  t.match(await ask(path, { claims: { tenant: 'other' }, method: 'DELETE', headers: { 'if-match': old } }), { status: 404 })
  t.match(await send('DELETE', path, { 'if-match': await eTagOf(path) }), { status: 204 })
})

t.test('a route that does not evaluate a precondition rejects it, and does nothing', async t => {
  const jobId = await service.submit('preconditions', null)
  const { leaseToken } = await createWorkerClient(service).claimed('preconditions')
  const base = `/api/v1/worker/jobs/${jobId}`
  const before = await service.sql('SELECT max(version) FROM JobChange')
  const writes: Array<[method: string, path: string, body: unknown]> = [
    ['POST', '/api/v1/jobs', { type: 'x', input: 1 }],
    ['POST', '/api/sanitize', { content: 'a', contentType: 'text/plain' }],
    ['POST', '/api/sanitize/async', { content: 'a', contentType: 'text/plain' }],
    ['POST', '/api/v1/worker/claim', { types: ['preconditions'] }],
    ['POST', `${base}/progress`, { percent: 1 }],
    ['PUT', `${base}/result`, 'abc'],
    ['POST', `${base}/complete`, {}],
    ['POST', `${base}/fail`, { error: { code: 'E', message: 'm' } }]
  ]
  for (const [method, path, body] of writes) {
    for (const name of ['if-match', 'if-none-match', 'if-unmodified-since']) {
      const value = name === 'if-unmodified-since' ? new Date().toUTCString() : '*'
      t.match(await send(method, path, { 'lease-token': leaseToken, [name]: value }, body), failed, `${path} ${name}`)
    }
  }
  for (const path of ['/api/v1/jobs', `/api/v1/jobs/${jobId}/result`, `/api/v1/jobs/${jobId}`, '/livez']) {
    t.match(await send('GET', path, { 'if-unmodified-since': new Date().toUTCString() }), failed, path)
    t.match(await send('GET', path, { 'if-modified-since': new Date().toUTCString() }), { status: path.endsWith('result') ? 202 : 200 })
  }
  t.match(await send('GET', '/api/v1/jobs', { 'if-match': '"a"' }), failed)
  t.match(await send('GET', '/api/v1/jobs', { 'if-none-match': '"a"' }), { status: 200 }, 'no list has this tag')
  t.equal(await service.sql('SELECT max(version) FROM JobChange'), before)
})

t.test('If-Match on a result is compared with its digest, and with the status while there is none', async t => {
  const jobId = await service.submit('result', null)
  const worker = createWorkerClient(service)
  const { leaseToken } = await worker.claimed('result')
  const path = `/api/v1/jobs/${jobId}/result`
  t.match(await send('GET', path, { 'if-match': '"a"' }), failed)
  t.match(await send('GET', path, { 'if-match': await eTagOf(path) }), { status: 202 })
  await worker.upload(jobId, leaseToken, 0, '123')
  t.match(await send('GET', `${path}?partial=true`, { 'if-match': '"a"' }), failed)
  await worker.report(jobId, 'complete', leaseToken, {})
  for (const headers of [{}, { range: 'bytes=1-' }]) {
    t.match(await send('GET', path, { ...headers, 'if-match': '"a"' }), failed)
    t.match(await send('GET', path, { ...headers, 'if-match': await eTagOf(path) }), { status: 'range' in headers ? 206 : 200 })
  }
})

t.test('rejects other headers that change what a request means', async t => {
  const job = { type: 'x', input: 1 }
  const before = await service.sql('SELECT max(version) FROM JobChange')
  for (const name of ['x-http-method-override', 'x-http-method', 'x-method-override']) {
    t.match(await send('POST', '/api/v1/jobs/queued/cancel', { [name]: 'DELETE' }), { status: 400, code: 'VALIDATION_FAILED' })
    t.equal((await send('GET', '/api/v1/jobs/queued', { [name]: 'get' })).status, 200, 'the same method')
  }
  for (const path of ['/api/v1/jobs', '/api/sanitize/async', '/api/v1/worker/jobs/queued/complete']) {
    t.match(await send('POST', path, { 'content-range': 'bytes 6-10/11', 'lease-token': 'x' }, job), {
      status: 400, code: 'VALIDATION_FAILED'
    }, path)
  }
  for (const [method, path] of [['POST', '/api/v1/jobs'], ['GET', '/api/v1/jobs/queued']] as const) {
    t.match(await send(method, path, { 'content-encoding': 'gzip' }), { status: 415 })
  }
  t.equal(await service.sql('SELECT max(version) FROM JobChange'), before)
  t.equal((await send('POST', '/api/v1/jobs', { 'content-encoding': 'identity' }, job)).status, 202)
})
