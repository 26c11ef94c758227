import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { toIso } from '../../../../src/job/time.ts'
import { startService } from '../../../helpers/service.ts'
import { until } from '../../../helpers/until.ts'
import { openRemoteWorker, plain } from '../../remote-worker.ts'
import { insertRows, whole } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0', PRUNE_INTERVAL_SECONDS: '86400' })
const { ask, askJson } = service
const worker = openRemoteWorker(t, service)
const both = (id: string) => [`/api/v1/jobs/${id}/result`, `/api/jobs/${id}/result`]

const digits = Buffer.from('0123456789')

/** Completes a job with these bytes, stored in chunks of four. Returns its id. */
const finish = async (bytes: Buffer, kind = plain) => {
  const lease = await worker.run()
  for (let offset = 0; offset < bytes.byteLength; offset += 4) {
    await worker.append(lease, offset, bytes.subarray(offset, offset + 4).toString(), kind)
  }
  await worker.completeWith(lease, bytes, kind, bytes.byteLength)
  await until(async () => (await askJson(`/api/v1/jobs/${lease.jobId}`)).status === 'Succeeded', 'the end of the job')
  return lease.jobId
}

/** A response but for how many seconds of its result's life are left. */
const steady = async (answer: Response) => {
  const { headers: { 'cache-control': _, ...headers }, ...others } = await whole(answer)
  return { ...others, headers }
}

const digest = (bytes: Buffer) => `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`

t.test('a range is 206 with its bytes and the headers of the whole result', async t => {
  const id = await finish(digits)
  const ranges = {
    'bytes=0-0': [0, 1],
    'bytes=2-5': [2, 6],
    'bytes=3-': [3, 10],
    'bytes=-3': [7, 10],
    'bytes=0-99': [0, 10],
    'bytes=4-7': [4, 8]
  } as const
  for (const path of both(id)) {
    const { headers: { 'content-length': _, ...facts }, body } = await steady(await ask(path))
    t.equal(body, digits.toString())
    t.equal(facts['accept-ranges'], 'bytes')
    for (const [range, [start, end]] of Object.entries(ranges)) {
      const part = await steady(await ask(path, { headers: { range } }))
      t.same(part, {
        status: 206,
        headers: { ...facts, 'content-length': String(end - start), 'content-range': `bytes ${start}-${end - 1}/10` },
        body: digits.toString().slice(start, end)
      }, range)
    }
    t.equal(facts['repr-digest'], digest(digits))
  }
})

t.test('an invalid range and several ranges return the whole result', async t => {
  const [path = ''] = both(await finish(digits))
  for (const range of ['bytes=0-1,4-5', 'items=0-1', 'bytes=x', 'bytes=5-2']) {
    const answer = await whole(await ask(path, { headers: { range } }))
    t.match(answer, { status: 200, body: digits.toString() }, range)
    t.notOk('content-range' in answer.headers)
  }
})

t.test('a range beyond the end is 416, with the size', async t => {
  const [v1 = '', task = ''] = both(await finish(digits))
  const beyond = { headers: { range: 'bytes=10-' } }
  const answer = await whole(await ask(v1, beyond))
  t.match(answer, { status: 416, headers: { 'content-range': 'bytes */10', 'cache-control': 'no-store' } })
  t.notOk('etag' in answer.headers, 'no headers of the result')
  t.match(JSON.parse(answer.body), { code: 'RANGE_NOT_SATISFIABLE', status: 416, jobStatus: 'Succeeded', offset: 10 })
  const inEnvelope = await ask(task, beyond)
  t.equal(inEnvelope.headers.get('content-range'), 'bytes */10')
  t.match(await inEnvelope.json(), {
    success: false, error: { code: 'RANGE_NOT_SATISFIABLE', details: { offset: 10 } }
  })
})

t.test('evaluates If-None-Match first, then If-Range, then Range', async t => {
  const [path = ''] = both(await finish(digits))
  const eTag = (await ask(path)).headers.get('etag') ?? ''
  const range = 'bytes=2-5'
  const of = async (headers: Record<string, string>) => await whole(await ask(path, { headers: { range, ...headers } }))
  t.match(await of({ 'if-none-match': eTag }), {
    status: 304, body: '', headers: { etag: eTag, expires: String, 'cache-control': /max-age/ }
  })
  t.equal((await of({ 'if-none-match': eTag, range: 'bytes=99-' })).status, 304)
  t.equal((await of({ 'if-none-match': '"other"' })).status, 206)
  t.match(await of({ 'if-range': eTag }), { status: 206, body: '2345' })
  const { date } = Object.fromEntries((await ask(path)).headers)
  for (const other of ['"other"', `W/${eTag}`, String(date)]) {
    t.match(await of({ 'if-range': other }), { status: 200, body: digits.toString() }, other)
  }
  t.equal((await of({ 'if-range': '"other"', range: 'bytes=99-' })).status, 200)
})

t.test('HEAD ignores Range', async t => {
  const [path = ''] = both(await finish(digits))
  const get = await steady(await ask(path))
  for (const range of ['bytes=2-5', 'bytes=99-']) {
    t.same(await steady(await ask(path, { method: 'HEAD', headers: { range } })), { ...get, body: '' })
  }
})

t.test('serves an empty result', async t => {
  for (const path of both(await finish(Buffer.alloc(0)))) {
    t.match(await whole(await ask(path)), {
      status: 200, body: '', headers: { 'content-length': '0', 'repr-digest': digest(Buffer.alloc(0)), etag: String }
    })
    t.match(await whole(await ask(path, { headers: { range: 'bytes=0-' } })), {
      status: 416, headers: { 'content-range': 'bytes */0' }
    })
    t.match(await whole(await ask(path, { headers: { range: 'bytes=-5' } })), {
      status: 200, headers: { 'content-length': '0' }
    })
    t.match(await whole(await ask(`${path}?partial=true`)), {
      status: 200, body: '', headers: { 'job-result': 'complete', 'job-result-offset': '0' }
    })
  }
})

const expectHarmless = async (t: Test, kind: typeof plain, expected: Record<string, string>) => {
  const id = await finish(digits, kind)
  for (const target of both(id).flatMap(path => [path, `${path}?partial=true`])) {
    const { status, headers } = await whole(await ask(target))
    t.match({ status, headers }, { status: 200, headers: expected }, target)
    t.notOk('set-cookie' in headers)
  }
}

t.test('never copies the file name or media type of a worker into a header unchecked', async t => {
  await expectHarmless(t, { contentType: 'text/html\r\nset-cookie: a=b', fileName: 'a"\r\nset-cookie: a=b' }, {
    'content-type': 'application/octet-stream',
    'content-disposition': 'attachment; filename="a_set-cookie__a_b"; filename*=UTF-8\'\'a%22set-cookie%3A%20a%3Db'
  })
  await expectHarmless(t, { contentType: 'image/svg+xml', fileName: '../Übersicht 表.svg' }, {
    'content-type': 'image/svg+xml',
    'content-disposition': 'attachment; filename="_bersicht__.svg"; filename*=UTF-8\'\'%C3%9Cbersicht%20%E8%A1%A8.svg',
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff'
  })
})

const maxAgeOf = ({ headers }: Response) => Number(
  /^private, max-age=(\d+), immutable$/.exec(headers.get('cache-control') ?? '')?.[1]
)

t.test('caches may not keep a result beyond its expiry', async t => {
  const id = await finish(digits)
  const { data: { expiresAt } } = await askJson(`/api/jobs/${id}/status`)
  for (const path of both(id)) {
    const before = Date.now()
    const answer = await ask(path)
    const left = Date.parse(expiresAt) - before
    t.ok(left > 0 && maxAgeOf(answer) * 1000 <= left, `${maxAgeOf(answer)} s of ${left} ms`)
    t.ok(maxAgeOf(answer) > 0)
    t.equal(answer.headers.get('expires'), new Date(expiresAt).toUTCString())
  }
  await service.sql(`UPDATE JobExecutionLog SET expiresAt = '2026-01-31T12:00:00.500Z' WHERE jobId = '${id}'`)
  for (const path of both(id)) {
    const due = await ask(path)
    t.equal(due.status, 200, 'served until it is removed')
    t.equal(maxAgeOf(due), 0)
    t.equal(due.headers.get('expires'), 'Sat, 31 Jan 2026 12:00:00 GMT')
  }
  await service.sql(`UPDATE JobExecutionLog SET expiresAt = '${toIso(Date.now() + 1e9)}' WHERE jobId = '${id}'`)
  t.equal(maxAgeOf(await ask(both(id)[0] ?? '')), 3600, 'at most an hour, since the job can be erased earlier')
  await service.sql(`UPDATE JobExecutionLog SET expiresAt = NULL WHERE jobId = '${id}'`)
  const kept = await ask(both(id)[0] ?? '')
  t.equal(maxAgeOf(kept), 3600)
  t.notOk(kept.headers.has('expires'))
})

t.test('an expired result is 410, with the time of its removal', async t => {
  const id = await finish(digits)
  await worker.expireAll()
  const [v1 = '', task = ''] = both(id)
  for (const query of ['', '?partial=true', '?partial=true&offset=3']) {
    const gone = await ask(v1 + query)
    t.equal(gone.status, 410)
    const { data: { expiredAt } } = await askJson(`/api/jobs/${id}/status`)
    t.match(expiredAt, /Z$/, 'the status shows what the result response has shown')
    t.match(await gone.json(), { code: 'RESULT_EXPIRED', jobStatus: 'Succeeded', expiredAt })
    t.match(await askJson(task + query), {
      success: false, error: { code: 'RESULT_EXPIRED', details: { jobStatus: 'Succeeded', expiredAt } }
    })
  }
})

t.test('a job that succeeded without a result is 404 NO_RESULT, also for partial reads', async t => {
  const lease = await worker.run()
  await worker.complete(lease, { kind: 'none' })
  await insertRows(service, { jobId: 'foreign-without', status: 'Succeeded' })
  for (const path of [...both(lease.jobId), ...both('foreign-without')]) {
    await until(async () => (await ask(path)).status === 404, 'the end of the job')
    t.match(JSON.stringify(await askJson(`${path}?partial=true`)), /"NO_RESULT"/)
  }
})
