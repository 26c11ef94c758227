import { createHash } from 'node:crypto'
import t from 'tap'
import { startService } from '../../../helpers/service.ts'
import { insertRows, whole } from '../../rows.ts'

const service = await startService(t)
const { ask, askJson, submit, finished } = service
const both = (id: string) => [`/api/v1/jobs/${id}/result`, `/api/jobs/${id}/result`]

const kinds = {
  'report as json': {
    type: 'report',
    input: {},
    mediaType: /^application\/json/,
    disposition: /^inline; filename="job-report-[\d-]+\.json"$/,
    content: /"report": "job-execution"/
  },
  'report as csv': {
    type: 'report',
    input: { format: 'csv' },
    mediaType: /^text\/csv/,
    disposition: /^inline; filename="job-report-[\d-]+\.csv"$/,
    content: /^section,type,status,code,metric,value/
  },
  'report as html': {
    type: 'report',
    input: { format: 'html' },
    mediaType: /^text\/html/,
    disposition: /^attachment; filename="job-report-[\d-]+\.html"$/,
    content: /^<!doctype html>/
  },
  'sanitized html': {
    type: 'sanitize',
    input: { content: '<b onclick="x()">bö</b><script>1</script>', contentType: 'text/html' },
    mediaType: /^text\/html/,
    disposition: /^attachment; filename="sanitized\.html"$/,
    content: /^<b>bö<\/b>$/
  },
  'sanitized text': {
    type: 'sanitize',
    input: { content: 'a\u202eb\u0000c', contentType: 'text/plain' },
    mediaType: /^text\/plain/,
    disposition: /^inline; filename="sanitized\.txt"$/,
    content: /^abc$/
  },
  'an empty result': {
    type: 'sanitize',
    input: { content: '', contentType: 'text/plain' },
    mediaType: /^text\/plain/,
    disposition: /^inline/,
    content: /^$/
  },
  'several chunks': {
    type: 'sanitize',
    input: { content: 'ä'.repeat(200_000), contentType: 'text/plain' },
    mediaType: /^text\/plain/,
    disposition: /^inline/,
    content: /^ä{200000}$/
  }
}

for (const [what, { type, input, mediaType, disposition, content }] of Object.entries(kinds)) {
  t.test(`serves the bytes and headers of a result: ${what}`, async t => {
    const job = await finished(await submit(type, input))
    t.equal(job.status, 'Succeeded')
    t.equal(job.errorDetails, null)
    t.equal(job.resultUrl, `/api/v1/jobs/${job.jobId}/result`, 'AC-002: the resultUrl of an own job')
    const { data } = await askJson(`/api/jobs/${job.jobId}/status`)
    t.match(data, { resultAvailable: true, resultUrl: `/api/jobs/${job.jobId}/result`, isSuccess: true })

    const answer = await ask(job.resultUrl)
    t.equal(answer.status, 200)
    const bytes = Buffer.from(await answer.arrayBuffer())
    t.match(bytes.toString(), content)
    const { headers } = answer
    t.match(headers.get('content-type'), mediaType)
    t.equal(headers.get('content-length'), String(bytes.byteLength))
    t.equal(headers.get('repr-digest'), `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`)
    t.match(headers.get('content-disposition'), disposition)
    t.equal(headers.get('x-content-type-options'), 'nosniff')
    t.match(headers.get('cache-control'), /^private, max-age=\d+, immutable$/)
    t.match(headers.get('etag'), /^"[\w-]+"$/)

    for (const path of both(job.jobId)) {
      const head = await whole(await ask(path, { method: 'HEAD' }))
      const { body, ...get } = await whole(await ask(path))
      t.equal(body, bytes.toString(), 'the same bytes in both views')
      t.same(head, { ...get, body: '' }, 'HEAD equals GET without the bytes')
      for (const tag of [headers.get('etag') ?? '', '*', `"a", W/${headers.get('etag')}`]) {
        const unchanged = await ask(path, { headers: { 'if-none-match': tag } })
        t.equal(unchanged.status, 304, tag)
        t.equal(await unchanged.text(), '')
        t.equal(unchanged.headers.get('etag'), headers.get('etag'))
      }
      t.equal((await ask(path, { headers: { 'if-none-match': '"other"' } })).status, 200)
    }
  })
}

t.test('the task view includes a small JSON result, not a large one', async t => {
  const sanitize = async (content: string) =>
    await finished(await submit('sanitize', { content, contentType: 'application/json' }))
  const small = await sanitize('{"a":[1,12345678901234567890],"error":null}')
  const text = await (await ask(`/api/jobs/${small.jobId}/status`)).text()
  t.same(JSON.parse(text).data.result, await askJson(small.resultUrl))
  t.equal(Object.keys(JSON.parse(text)).includes('error'), false)
  const large = await sanitize(JSON.stringify('x'.repeat(16 * 1024)))
  t.equal((await askJson(`/api/jobs/${large.jobId}/status`)).data.result, null)
  t.equal((await askJson(large.resultUrl)).length, 16 * 1024)
})

t.test('the result of an unfinished job is 202 with its status', async t => {
  const jobId = await submit('unclaimed', null)
  await insertRows(service, { jobId: 'foreign-running', status: 'Running', progressPercent: 30 })
  for (const id of [jobId, 'foreign-running']) {
    for (const [result, status] of [
      [`/api/v1/jobs/${id}/result`, `/api/v1/jobs/${id}`], [`/api/jobs/${id}/result`, `/api/jobs/${id}/status`]
    ] as const) {
      const answer = await whole(await ask(result))
      const expected = await whole(await ask(status))
      const link = expected.headers.link?.replaceAll('</', `<${service.url}/`)
      t.same(answer, { ...expected, status: 202, headers: { ...expected.headers, link } }, result)
      t.match(answer.headers['retry-after'], /^[1-9]/)
      t.equal(
        (await ask(result, { headers: { 'if-none-match': '*' } })).status, 202, 'If-None-Match does not apply to a 202'
      )
    }
  }
})

t.test('a failed job has no result: 409 JOB_FAILED', async t => {
  await insertRows(service, { jobId: 'foreign-failed', status: 'Failed', resultUrl: 'https://example.org/partial' })
  const own = await finished(await submit('report', { from: '2026-02-02', to: '2026-01-01' }))
  t.match(own, { status: 'Failed', resultUrl: null, errorDetails: { code: 'INVALID_INPUT', message: String } })
  for (const id of ['foreign-failed', own.jobId]) {
    const [v1, task] = await Promise.all(both(id).map(path => ask(path)))
    t.equal(v1?.status, 409)
    t.match(await v1?.json(), { status: 409, code: 'JOB_FAILED', jobStatus: 'Failed' })
    t.equal(task?.status, 409)
    t.match(await task?.json(), { success: false, error: { code: 'JOB_FAILED', details: { jobStatus: 'Failed' } } })
  }
})

t.test('a cancelled job has no result: 409 JOB_CANCELLED', async t => {
  await insertRows(service, { jobId: 'cancelled', status: 'Failed', cancelledAt: '2026-01-31T12:00:00Z' })
  for (const query of ['', '?partial=true']) {
    const [v1, task] = await Promise.all(both('cancelled').map(path => ask(path + query)))
    t.equal(v1?.status, 409)
    t.match(await v1?.json(), { code: 'JOB_CANCELLED', jobStatus: 'Failed' })
    t.equal(task?.status, 409)
    t.match(await task?.json(), { success: false, error: { code: 'JOB_CANCELLED', details: { jobStatus: 'Failed' } } })
  }
})

t.test('a result at another URL is 303', async t => {
  const places = ['https://files.example.org/a%20b.csv?x=1#y', 'http://127.0.0.1:9/a', 'HTTPS://EXAMPLE.ORG/ü']
  await insertRows(
    service, ...places.map((resultUrl, at) => ({ jobId: `elsewhere-${at}`, status: 'Succeeded', resultUrl }))
  )
  for (const [at, place] of places.entries()) {
    for (const path of both(`elsewhere-${at}`)) {
      const answer = await ask(path)
      t.equal(answer.status, 303)
      t.equal(answer.headers.get('location'), new URL(place).href)
      t.equal((await ask(`${path}?partial=true`)).status, 303)
      t.equal(await answer.text(), '')
      t.match(answer.headers.get('cache-control'), /private/)
    }
  }
})

t.test('a resultUrl that is missing or not http(s) is 404 NO_RESULT', async t => {
  const places = [
    'javascript:alert(1)', 'JavaScript:alert(1)//https://x', ' \tjavascript:alert(1)',
    'data:text/html,<script>1</script>',
    'file:///etc/passwd', 'ftp://example.org/a', '/relative', 'a b', 'https://', '', null
  ]
  await insertRows(
    service, ...places.map((resultUrl, at) => ({ jobId: `nowhere-${at}`, status: 'Succeeded', resultUrl }))
  )
  for (const [at, place] of places.entries()) {
    const [v1, task] = await Promise.all(both(`nowhere-${at}`).map(path => ask(path)))
    t.equal(v1?.status, 404, String(place))
    t.notOk(v1?.headers.has('location'))
    t.match(await v1?.json(), { code: 'NO_RESULT', jobStatus: 'Succeeded' })
    t.match(await task?.json(), { success: false, error: { code: 'NO_RESULT' } })
  }
})

t.test('a result whose record another program deleted is 410', async t => {
  const { jobId } = await finished(await submit('report', {}))
  await service.sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  for (const path of both(jobId)) t.equal((await ask(path)).status, 410, path)
  t.match(await askJson(both(jobId)[0] ?? ''), { code: 'JOB_EXPIRED', expiredAt: String })
  t.match(await askJson(both(jobId)[1] ?? ''), {
    success: false, error: { code: 'JOB_EXPIRED', details: { expiredAt: String } }
  })
})
