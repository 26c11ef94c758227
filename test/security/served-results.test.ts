import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { openRemoteWorker } from '../http/remote-worker.ts'
import { insertRows } from '../http/rows.ts'
import { createWorkerClient, workerClaims } from '../helpers/client.ts'
import { createConnection, type RawAnswer, sendAlone, readAnswers, valuesOf } from '../helpers/raw-http.ts'

/*
 * Results as a browser gets them: whatever type and name a worker gives its bytes, they are not run in the service's
 * origin, and neither type nor name becomes another header. Read from the wire.
 */

const service = await startService(t, { WORKERS: '0' })
const port = Number(new URL(service.url).port)
const bearer = token({ ...workerClaims, expiresIn: 3_600_000 })
const worker = openRemoteWorker(t, service)
const { exchange, close } = createConnection(port)
t.teardown(close)

const bytes = Buffer.from('<script>alert(1)</script>')

const read = async (method: string, target: string, lines: string[] = []): Promise<RawAnswer> => {
  const exchanged = await exchange(Buffer.from([
    `${method} ${target} HTTP/1.1`, 'Host: x', `Authorization: Bearer ${bearer}`, ...lines, '', ''
  ].join('\r\n')), method === 'HEAD')
  if (exchanged.kind !== 'answered') throw new Error(`${target}: ${JSON.stringify(exchanged)}`)
  return exchanged.answer
}

const known =
  new Set(['content-type', 'content-disposition', 'content-security-policy', 'x-content-type-options', 'cache-control', 'vary', 'etag', 'repr-digest', 'accept-ranges', 'expires', 'content-length', 'content-range', 'date', 'connection', 'keep-alive',
    'job-result', 'job-result-offset', 'job-attempt', 'job-state', 'job-progress', 'retry-after', 'retry-after-ms',
    'link'])

/** For the names of tests, which are lines of ASCII. */
const shown = (text: string) => encodeURIComponent(text.slice(0, 30).toWellFormed())

/** Every header of ours once, in plain ASCII, and no other. */
const expectPlain = (t: Test, { headers }: RawAnswer, what: string) => {
  const names = headers.map(([name]) => name)
  t.same(names.filter(name => !known.has(name)), [], `${what}: no header but ours`)
  t.equal(new Set(names).size, names.length, `${what}: each once`)
  t.same(headers.filter(([, value]) => !/^[\x20-\x7e]{1,2000}$/.test(value)), [], `${what}: of ASCII`)
}

/** All the ways to fetch the bytes, one half under each prefix. */
const fetchAll = async (jobId: string) => {
  const [v1, task] = ['/api/v1/jobs', '/api/jobs'].map(prefix => `${prefix}/${jobId}/result`) as [string, string]
  return [
    await read('GET', v1), await read('HEAD', task), await read('GET', `${v1}?partial=true`),
    await read('GET', task, ['Range: bytes=0-3']), await read('GET', v1, ['If-None-Match: *']),
    await read('GET', task, ['Range: bytes=999-'])
  ]
}

const expectHarmless = async (t: Test, jobId: string, what: string, disposition = /^attachment; filename="/) => {
  await until(async () => (await service.askJson(`/api/v1/jobs/${jobId}`)).status === 'Succeeded', 'the end of the job')
  for (const answer of await fetchAll(jobId)) {
    expectPlain(t, answer, what)
    if (answer.status === 416) continue
    t.same([...valuesOf(
      answer, 'x-content-type-options'
    ), ...valuesOf(answer, 'content-security-policy')], ['nosniff', "default-src 'none'; sandbox"], what)
    t.match(valuesOf(answer, 'content-disposition').join(), disposition, what)
  }
}

const finish = async (contentType: string, fileName: string) => {
  const lease = await worker.run()
  await worker.completeWith(lease, bytes, { contentType, fileName })
  return lease.jobId
}

t.test('content that a browser would run or render is a download', async t => {
  const active = [
    'text/html', 'TEXT/HTML; charset=utf-8', 'application/xhtml+xml', 'image/svg+xml', 'text/xml', 'application/xml',
    'application/rss+xml', 'application/mathml+xml', 'text/xsl', 'text/javascript', 'application/javascript',
    'application/ecmascript', 'text/ecmascript', 'module',
    'application/wasm', 'application/pdf', 'application/x-shockwave-flash', 'text/css',
    'multipart/x-mixed-replace; boundary=x',
    'multipart/related', 'message/rfc822', 'application/vnd.ms-excel', 'application/x-httpd-php',
    'application/manifest+json', 'text/cache-manifest', 'application/hta', 'text/x-component', 'text/vbscript',
    'image/png', 'video/mp4', 'application/octet-stream', '', 'text/plain-html', 'text/plain,text/html',
    'text/html,text/plain', 'text/html\u0000text/plain', 'unknown/unknown', '*/*', 'application/json+html'
  ]
  for (const type of active) await expectHarmless(t, await finish(type, 'result.html'), shown(type))
})

t.test('plain text is shown, and not sniffed as another type', async t => {
  for (const type of ['text/plain', 'text/csv; charset=utf-8', 'application/json', 'application/x-ndjson']) {
    await expectHarmless(t, await finish(type, 'result.txt'), type, /^inline; filename="/)
  }
})

const odd = [
  'a\r\nSet-Cookie: s=1', 'a\nSet-Cookie: s=1', 'a\rSet-Cookie: s=1', 'a\r\n\r\n<html>', 'a"; filename="b.html',
  'a\\"; x="', 'a\u0000b', 'a\u0085b', 'a\u2028b\u2029c', '\u560d\u560aSet-Cookie: s=1', 'Bericht f\u00fcr M\u00e4rz',
  '\u4f1a\u793e.csv', '\ud83d\ude00', '\ud83d', '\u202efdp.exe', '\u2066a\u2069', '\ufeffa',
  "a'b", 'a;b=c', 'a%0d%0ab', '../../etc/passwd', '..\\..\\x', 'a\tb', '\u007f', '='.repeat(20), '"'.repeat(200),
  'x'.repeat(10_000), '\u4f1a'.repeat(10_000), '\r\n'.repeat(5000), ' ', '.', '..', 'con', "utf-8''a",
  '=?utf-8?B?PHNjcmlwdD4=?='
]

t.test('no stored name and no stored type can inject a header', async t => {
  const forms = [
    (text: string) => text, (text: string) => `text/html; charset=${text}`, (text: string) => `text/html; a="${text}"`
  ]
  for (const [at, text] of odd.entries()) {
    const type = forms[at % forms.length]?.(text) ?? ''
    await expectHarmless(t, await finish(type, text), `${shown(text)}, in the type too`)
  }
})

t.test('a worker cannot send such names and types over HTTP', async t => {
  const client = createWorkerClient(service)
  const upload = async (lines: string[]) => {
    const jobId = await service.submit('of-http', 1, { claims: workerClaims })
    const { leaseToken } = await client.claimed('of-http')
    const head = [
      `PUT /api/v1/worker/jobs/${jobId}/result HTTP/1.1`, 'Host: x', `Authorization: Bearer ${bearer}`,
      `Lease-Token: ${leaseToken}`, `Content-Length: ${bytes.length}`, 'Connection: close', ...lines, '', ''
    ].join('\r\n')
    const { bytes: received } = await sendAlone(port, Buffer.concat([Buffer.from(head, 'latin1'), bytes]))
    const [answer] = readAnswers(received)
    if (answer?.status === 200) {
      t.equal((await client.report(jobId, 'complete', leaseToken)).status, 200)
      await expectHarmless(t, jobId, shown(lines.at(-1)?.slice(20) ?? ''))
    }
    return answer?.status
  }
  const latin1 = (text: string) => Buffer.from(text).toString('latin1')
  for (const [at, name] of odd.filter(text => text.length < 8000).entries()) {
    const canBeSent = at % 2 === 0 && !/\p{Cc}/u.test(name)
    const disposition = canBeSent
      ? latin1(
      `filename="${name}"`
      )
      : `filename*=UTF-8''${encodeURIComponent(name.toWellFormed())}`
    t.equal(
      await upload(['Content-Type: text/html', `Content-Disposition: attachment; ${disposition}`]), 200, shown(name)
    )
  }
  for (const name of ['%0d%0aSet-Cookie:%20s=1', '%00', '%e2%80%aea', '%ff', '%']) {
    t.equal(
      await upload(['Content-Type: text/html', `Content-Disposition: attachment; filename*=UTF-8''${name}`]), 200, name
    )
  }
  t.equal(await upload([`Content-Type: text/${'x'.repeat(10_000)}`]), 400, 'a type of 10,000 characters')
  t.equal(await upload([latin1('Content-Type: text/h\u00e4ml; a="\u4f1a"')]), 200, 'a malformed type is none')
})

t.test('an external result is a web URL: no other scheme, no second header', async t => {
  const urls = [
    'javascript:alert(1)', 'data:text/html,<script>', 'https://x/\r\nSet-Cookie: s=1', 'https://x/\u0000',
    'https://x/\u4f1a', 'https://x/ y', '//evil.example/', '/livez', 'https:evil', 'ftp://x/', 'file:///etc/passwd',
    ' https://x/', `https://x/${'a'.repeat(10_000)}`, 'https://user:pass@x/', 'vbscript:x', 'HTTPS://X/'
  ]
  for (const [at, resultUrl] of urls.entries()) {
    const jobId = `elsewhere-${at}`
    const what = shown(resultUrl)
    await service.sql(
      `INSERT INTO JobExecutionLog (jobId, status, resultUrl) VALUES ('${jobId}', 'Succeeded', CAST(x'${Buffer.from(resultUrl).toString('hex')}' AS TEXT))`
    )
    for (const prefix of ['/api/v1/jobs', '/api/jobs']) {
      const answer = await read('GET', `${prefix}/${jobId}/result`)
      const [location, ...more] = valuesOf(answer, 'location')
      t.ok(answer.status === 303 || answer.status === 404, `${what}: ${answer.status}`)
      t.equal(location !== undefined, answer.status === 303, what)
      t.match(location ?? 'https://x/', /^https?:\/\/[\x21-\x7e]+$/i, what)
      t.same(more, [])
      t.notOk(answer.headers.some(([name]) => name === 'set-cookie'), what)
      await read('GET', prefix === '/api/jobs' ? `/api/jobs/${jobId}/status` : `/api/v1/jobs/${jobId}`)
    }
  }
})

t.test('other stored text stays in the body', async t => {
  await insertRows(service, {
    jobId: 'odd',
    status: 'Failed',
    errorDetails: JSON.stringify({
      code: 'A\r\nSet-Cookie: s=1', message: '</script>\u0000\u202e'
    }),
    type: 'x\r\nSet-Cookie: s=1'
  })
  for (const target of ['/api/v1/jobs/odd', '/api/jobs/odd/status', '/api/jobs/odd/result', '/api/v1/jobs?ids=odd']) {
    const answer = await read('GET', target)
    t.ok(answer.status === 200 || answer.status === 409)
    t.match(valuesOf(answer, 'content-type').join(), /^application\/(problem\+)?json; charset=utf-8$/)
    t.notMatch(JSON.stringify(answer.headers), /Set-Cookie|s=1/i)
  }
})

t.test('headers that trickle in end their connection', async t => {
  const slow = connect({ port, host: '127.0.0.1' })
  slow.on('error', () => {})
  let received = ''
  slow.on('data', data => { received += String(data) })
  slow.write('GET /livez HTTP/1.1\r\n')
  const timer = setInterval(() => { if (slow.writable) slow.write('X: y\r\n') }, 200)
  t.teardown(() => { clearInterval(timer) })
  await once(slow, 'close')
  t.match(received, /^HTTP\/1\.1 408 /, 'a header a time is not time gained')
})

t.test('no error is in the log after all of this', async t => {
  t.same(service.logs.filter(line => line.level >= 50), [])
  t.equal((await service.ask('/livez')).status, 200)
})
