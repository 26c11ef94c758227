import t from 'tap'
import type { Json } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, url } = service

const problem = 'application/problem+json; charset=utf-8'
const json = 'application/json; charset=utf-8'

const cases: Array<[accept: string, mediaType: string]> = [
  ['*/*', problem],
  ['application/*', problem],
  ['application/problem+json', problem],
  ['application/problem+json, application/json', problem],
  ['application/json;q=0.5, application/problem+json;q=0.9', problem],
  ['application/json;q=0.5, application/problem+json;q=0.5', problem],
  ['Application/Problem+JSON ; Q=1', problem],
  ['application/json', json],
  ['application/json;q=0.9, application/problem+json;q=0.5', json],
  ['application/json, application/problem+json;q=0', json],
  ['application/json, */*;q=0.1', json],
  ['application/problem+json;q=0', json],
  ['text/html', json],
  ['text/*', json],
  ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', problem],
  // What n8n sends.
  ['application/json,text/*;q=0.99', json],
  ['application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7', json],
  [';;,,q=', json]
]

for (const [accept, mediaType] of cases) {
  t.test(`an error for Accept: ${accept} is ${mediaType.split(';')[0]}`, async t => {
    const answer = await ask('/api/v1/jobs/no-such-job', { headers: { accept } })
    t.equal(answer.status, 404)
    t.equal(answer.headers.get('content-type'), mediaType)
    t.match(await answer.json(), { code: 'JOB_NOT_FOUND' })
  })
}

t.test('an error without Accept is problem+json', async t => {
  // fetch always sends the header; Node's own client does not.
  const { get } = await import('node:http')
  const mediaType = await new Promise(resolve => {
    get(`${url}/api/v1/jobs/no-such-job`, { agent: false }, answer => {
      answer.resume()
      resolve(answer.headers['content-type'])
    })
  })
  t.equal(mediaType, problem)
})

t.test('a status is application/json for any Accept', async t => {
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Queued')")
  for (const accept of ['text/html', 'application/problem+json', '*/*', 'image/png']) {
    const answer = await ask('/api/v1/jobs/job-123', { headers: { accept } })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('content-type'), json, accept)
  }
})

t.test('instance is the path as the client wrote it, without the query', async t => {
  for (const path of [
    '/api/v1/jobs/no-such-job', '/api/v1/jobs/%ZZ', '/api/v1/jobs/a%20b', '/api/v1/nothing',
    '/api/v1/jobs/no-such-job/result'
  ]) {
    for (const query of ['', '?token=secret']) {
      const body: Json = await (await ask(path + query)).json()
      t.equal(body.instance, path)
    }
  }
})

t.test('a problem has the members of RFC 9457 and a code', async t => {
  const answer = await ask('/nothing')
  t.equal(answer.status, 404)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  t.same(await answer.json(), {
    type: 'about:blank',
    title: 'Not found',
    status: 404,
    detail: 'No route matches this path.',
    instance: '/nothing',
    code: 'NOT_FOUND'
  })
})

t.test('errors are an envelope under /api/jobs and /api/sanitize, and a problem elsewhere', async t => {
  for (const path of [
    '/api/jobs/no-such-job/status', '/api/jobs/no-such-job', '/api/jobs?limit=0', '/api/sanitize', '/api/sanitize/async'
  ]) {
    const body: Json = await (await ask(path)).json()
    t.same(Object.keys(body), ['success', 'error'], path)
    t.equal(body.success, false)
  }
  for (const path of ['/api/v1/jobs/no-such-job', '/api/jobsx', '/api/v2', '/nothing']) {
    const body: Json = await (await ask(path)).json()
    t.equal(body.instance, path)
    t.notOk(Object.hasOwn(body, 'error'), path)
  }
})
