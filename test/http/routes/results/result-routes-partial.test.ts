import t from 'tap'
import { startService } from '../../../helpers/service.ts'
import { until } from '../../../helpers/until.ts'
import { openRemoteWorker, plain } from '../../remote-worker.ts'
import { insertRows, whole } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, submit } = service
const worker = openRemoteWorker(t, service)
const both = (id: string) => [`/api/v1/jobs/${id}/result`, `/api/jobs/${id}/result`]

const finalHeaders = ['etag', 'repr-digest', 'accept-ranges', 'expires', 'content-range']

t.test('serves the bytes of a running job as they arrive, until the last', async t => {
  const lease = await worker.run()
  for (const path of both(lease.jobId)) {
    const none = await whole(await ask(`${path}?partial=true`))
    t.match(none, {
      status: 200,
      body: '',
      headers: {
        'job-result': 'partial', 'job-result-offset': '0', 'job-attempt': '1', 'content-length': '0'
      }
    })
    t.equal(none.headers['content-type'], 'application/octet-stream', 'no worker has declared a type yet')
  }
  await worker.append(lease, 0, 'one,')
  for (const path of both(lease.jobId)) {
    const { status, headers, body } = await whole(await ask(`${path}?partial=true`))
    t.equal(status, 200)
    t.equal(body, 'one,')
    t.match(headers, {
      'job-result': 'partial',
      'job-result-offset': '4',
      'job-attempt': '1',
      'job-state': 'running',
      'job-progress': '0',
      'retry-after': /^[1-9]/,
      'retry-after-ms': /^[1-9]/,
      'content-type': plain.contentType,
      'content-length': '4',
      'content-disposition': 'inline; filename="result.txt"',
      'content-security-policy': /sandbox/,
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, no-store'
    })
    for (const name of finalHeaders) t.notOk(name in headers, name)
    t.match(await whole(await ask(`${path}?partial=true`, { method: 'HEAD' })), { status, headers, body: '' })
    const asIfFinal = { range: 'bytes=0-0', 'if-none-match': '*' }
    t.match(await whole(await ask(`${path}?partial=true`, {
      headers: asIfFinal
    })), { status: 200, body }, 'Range and If-None-Match apply to the final result')
  }
  await worker.append(lease, 4, 'two,')
  const [path = ''] = both(lease.jobId)
  const from = async (offset: number) => await whole(await ask(`${path}?offset=${offset}&partial=true`))
  t.match(await from(4), {
    status: 200, body: 'two,', headers: { 'job-result': 'partial', 'job-result-offset': '8', 'content-length': '4' }
  })
  t.match(await from(5), { body: 'wo,' }, 'from the middle of a chunk')
  t.match(await from(8), {
    status: 200,
    body: '',
    headers: {
      'job-result': 'partial', 'job-result-offset': '8'
    }
  }, 'nothing new yet')

  await worker.completeWith(lease, Buffer.from('one,two,three'), plain, 8)
  for (const [offset, rest] of [[8, 'three'], [0, 'one,two,three'], [13, '']] as const) {
    const last = await from(offset)
    t.match(last, {
      status: 200,
      body: rest,
      headers: {
        'job-result': 'complete',
        'job-result-offset': '13',
        'job-attempt': '1',
        'job-state': 'succeeded',
        'job-progress': '100',
        'cache-control': 'private, no-store'
      }
    })
    for (const name of [...finalHeaders, 'retry-after']) t.notOk(name in last.headers, name)
  }
  t.equal((await askJson(
    `/api/v1/jobs/${lease.jobId}`
  )).status, 'Succeeded', 'the status shows what the result response has shown')
  t.equal((await whole(await ask(`${path}?partial=true`))).body, 'one,two,three')
  t.equal((await whole(await ask(`${path}?partial=false`))).headers['accept-ranges'], 'bytes')
})

t.test('an offset beyond the end is 416, with the size', async t => {
  const lease = await worker.run()
  await worker.append(lease, 0, 'abc')
  const [v1 = '', task = ''] = both(lease.jobId)
  const beyond = async (path: string) => await whole(await ask(`${path}?partial=true&offset=4`))
  const running = await beyond(v1)
  t.match(running, {
    status: 416,
    headers: {
      'job-result': 'partial',
      'job-result-offset': '3',
      'job-attempt': '1',
      'job-state': 'running',
      'cache-control': 'no-store'
    }
  })
  t.match(JSON.parse(running.body), { code: 'RANGE_NOT_SATISFIABLE', status: 416, offset: 3, jobStatus: 'Running' })
  t.match(JSON.parse((await beyond(task)).body), {
    success: false, error: { code: 'RANGE_NOT_SATISFIABLE', details: { offset: 3, jobStatus: 'Running' } }
  })
  await worker.completeWith(lease, Buffer.from('abc'), plain, 3)
  const finished = await beyond(v1)
  t.match(finished, { status: 416, headers: { 'job-result': 'complete', 'job-result-offset': '3' } })
  t.match(JSON.parse(finished.body), { offset: 3, jobStatus: 'Succeeded' })
})

t.test('another attempt starts at offset 0 with another Job-Attempt', async t => {
  const lease = await worker.run()
  await worker.append(lease, 0, 'of the first attempt')
  const [path = ''] = both(lease.jobId)
  t.equal((await ask(`${path}?partial=true`)).headers.get('job-attempt'), '1')
  await worker.fail(lease, true)
  const between = await whole(await ask(`${path}?partial=true&offset=20`))
  t.match(between, { status: 202, headers: { 'job-state': 'queued' } })
  t.notOk('job-attempt' in between.headers)
  await service.sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${lease.jobId}'`)
  const second = await worker.claim(lease.type)
  const of = async (offset: number) => await whole(await ask(`${path}?partial=true&offset=${offset}`))
  await until(async () => (await of(0)).status === 200, 'the second run')
  t.match(await of(0), { body: '', headers: { 'job-attempt': '2', 'job-result-offset': '0' } })
  t.match(await of(20), { status: 416, headers: { 'job-attempt': '2', 'job-result-offset': '0' } })
  await worker.append(second, 0, 'of the second')
  t.match(await of(0), { body: 'of the second', headers: { 'job-attempt': '2', 'job-result-offset': '13' } })
  await worker.fail(second)
  t.match(await of(0), { status: 409 })
})

t.test('is 202 with the status while no bytes are available', async t => {
  const queued = await submit('unclaimed', null)
  await insertRows(service, { jobId: 'foreign-running', status: 'Running', progressPercent: 30 })
  for (const id of [queued, 'foreign-running']) {
    for (const path of both(id)) {
      t.same(await whole(await ask(`${path}?partial=true&offset=7`)), await whole(await ask(path)), path)
    }
    t.equal((await ask(`${both(id)[0]}?partial=true`)).status, 202)
  }
  const running = await worker.run()
  await worker.append(running, 0, 'abc')
  for (const path of both(running.jobId)) {
    t.match(await whole(await ask(path)), {
      status: 202,
      headers: {
        'content-type': /json/, 'job-state': 'running'
      }
    }, 'only partial=true returns a part')
  }
})

t.test('rejects an invalid query with 400, naming the field', async t => {
  const { jobId } = await worker.run()
  const bad = {
    'offset=0': 'offset',
    'offset=5&partial=false': 'offset',
    'partial=yes': 'partial',
    'partial=': 'partial',
    'partial=true&partial=true': 'partial',
    'partial=true&offset=': 'offset',
    'partial=true&offset=-1': 'offset',
    'partial=true&offset=1.5': 'offset',
    'partial=true&offset=x': 'offset',
    'partial=true&offset=99999999999999999999': 'offset',
    'partial=true&offset=1&offset=2': 'offset'
  }
  const [v1 = '', task = ''] = both(jobId)
  for (const [query, field] of Object.entries(bad)) {
    const answer = await ask(`${v1}?${query}`)
    t.equal(answer.status, 400, query)
    t.match(await answer.json(), {
      code: 'VALIDATION_FAILED',
      errors: [
        { field, rule: String, message: new RegExp(field) }
      ]
    }, query)
    t.match(await askJson(`${task}?${query}`), {
      success: false,
      error: {
        code: 'VALIDATION_FAILED', details: { errors: [{ field }] }
      }
    }, query)
  }
})

t.test('needs access to the job', async t => {
  const lease = await worker.run()
  await worker.append(lease, 0, 'secret')
  for (const path of both(lease.jobId)) {
    const stranger = await whole(await ask(`${path}?partial=true`, { claims: { sub: 'stranger' } }))
    t.equal(stranger.status, 404)
    t.notMatch(stranger.body, /secret/)
    t.equal((await ask(`${path}?partial=true`, { claims: { scope: 'jobs:write' } })).status, 403)
  }
})
