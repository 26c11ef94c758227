import t from 'tap'
import { catalogue, type FailureCode } from '../../../src/errors.ts'
import type { Json } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { forceRow, insertRows } from '../rows.ts'

/*
 * Produces every failure of the catalogue over HTTP and checks its code, its status and the shape for the path. A new
 * code needs an entry here.
 */

// Enough for all tests but that of the rate limit.
const perMinute = 400
const service = await startService(t, {
  WORKERS: '0', RECORD_RETENTION_SECONDS: '3600', RATE_LIMIT_PER_MINUTE: String(perMinute)
})
const claims = { scope: 'jobs:read jobs:write jobs:work' }

type Request = { path: string, method?: string, body?: unknown, headers?: Record<string, string>, claims?: Json }

const ask = ({ path, ...request }: Request) => service.ask(path, { claims, ...request })
const post = (path: string, body: unknown = {}, headers: Record<string, string> = {}): Request => ({
  path, method: 'POST', body, headers
})

const submit = async (type: string): Promise<string> =>
  (await (await ask(post('/api/v1/jobs', { type, input: {} }))).json() as Json).jobId

/** Claims a job. Returns its id and the headers of its lease. */
const claim = async (type: string) => {
  await submit(type)
  const { jobId, leaseToken } = await (await ask(post('/api/v1/worker/claim', { types: [type] }))).json() as Json
  return { jobId: jobId as string, lease: { 'lease-token': leaseToken as string } }
}

const fail = async (type: string) => {
  const { jobId, lease } = await claim(type)
  await ask(post(`/api/v1/worker/jobs/${jobId}/fail`, { error: { code: 'X', message: 'x' }, retryable: false }, lease))
  return jobId
}

const succeed = async (type: string, outcome: Json = { result: [1] }) => {
  const { jobId, lease } = await claim(type)
  await ask(post(`/api/v1/worker/jobs/${jobId}/complete`, outcome, lease))
  return jobId
}

const cancelled = async () => {
  const jobId = await submit('cancelled')
  await ask(post(`/api/v1/jobs/${jobId}/cancel`))
  return jobId
}

const erased = async () => {
  const jobId = await cancelled()
  await ask({ path: `/api/v1/jobs/${jobId}`, method: 'DELETE' })
  return jobId
}

const insert = async (jobId: string, status: string) => {
  await insertRows(service, { jobId, status })
  return jobId
}

const upload = async (): Promise<Request> => {
  const { jobId, lease } = await claim('upload')
  return {
    path: `/api/v1/worker/jobs/${jobId}/result?offset=7`,
    method: 'PUT',
    body: 'x',
    headers: {
      ...lease, 'content-type': 'text/plain'
    }
  }
}

const expired = async () => {
  const jobId = await succeed('expiring')
  await service.sql(`
    DELETE FROM JobResult WHERE jobId = '${jobId}';
    UPDATE JobExecutionLog SET resultExpiredAt = '2026-01-01T00:00:00Z' WHERE jobId = '${jobId}'`)
  return jobId
}

const overload = async (): Promise<Request> => {
  const body = JSON.stringify({ content: '<b title=x onclick=y></b>'.repeat(5000), contentType: 'text/html' })
  const statuses = Array.from({ length: 120 }, async () => {
    const answer = await ask(post('/api/sanitize', body))
    await answer.arrayBuffer()
    return answer.status === 503 ? answer.status : await Promise.reject(new Error('accepted'))
  })
  // They arrive in any order; from the first rejection on the queue is full for some time.
  await Promise.any(statuses)
  return post('/api/sanitize', body)
}

const hasty = async (): Promise<Request> => {
  const request = { path: '/api/v1/jobs/x', claims: { sub: 'hasty' } }
  let answer: Response
  do answer = await ask(request)
  while (answer.status !== 429)
  return request
}

const v1 = (jobId: string, rest = '') => `/api/v1/jobs/${jobId}${rest}`

// Their clients are slow, or send what fetch does not: body-timeouts.test.ts, malformed-requests.test.ts.
type CodeOfConnections = 'REQUEST_TIMEOUT' | 'HEADERS_TOO_LARGE'

const occasions: Record<Exclude<FailureCode, CodeOfConnections>, () => Promise<Request>> = {
  VALIDATION_FAILED: async () => post('/api/v1/jobs', {}),
  CALLBACK_REFUSED: async () => post('/api/v1/jobs', { type: 'x', input: 1, callbackUrl: 'https://127.0.0.1/' }),
  INVALID_TASK_ID: async () => ({ path: '/api/jobs/a%20b/status' }),
  UNAUTHORIZED: async () => ({ path: '/api/v1/jobs/x', headers: { authorization: '' } }),
  FORBIDDEN: async () => ({ path: '/api/v1/jobs/x', claims: { scope: 'jobs:write' } }),
  NOT_FOUND: async () => ({ path: '/api/v1/nothing' }),
  JOB_NOT_FOUND: async () => ({ path: v1('no-such-job') }),
  NO_RESULT: async () => ({ path: v1(await succeed('nothing', {}), '/result') }),
  METHOD_NOT_ALLOWED: async () => ({ path: '/api/v1/jobs/x', method: 'PUT' }),
  LEASE_LOST: async () => post(`/api/v1/worker/jobs/${(await claim('lost')).jobId}/progress`, {}, {
    'lease-token': 'another'
  }),
  OFFSET_MISMATCH: upload,
  JOB_ACTIVE: async () => ({ path: v1(await submit('active')), method: 'DELETE' }),
  JOB_FINISHED: async () => post(v1(await fail('finished'), '/cancel')),
  JOB_FAILED: async () => ({ path: v1(await fail('failed'), '/result') }),
  JOB_CANCELLED: async () => ({ path: v1(await cancelled(), '/result') }),
  JOB_NOT_OURS: async () => post(v1(await insert('theirs', 'Running'), '/cancel')),
  JOB_EXPIRED: async () => ({ path: v1(await erased()) }),
  RESULT_EXPIRED: async () => ({ path: v1(await expired(), '/result') }),
  CURSOR_EXPIRED: async () => ({ path: '/api/v1/events?since=0123456789abcdef-1' }),
  PRECONDITION_FAILED: async () => post('/api/v1/jobs', { type: 'x', input: 1 }, { 'if-match': '*' }),
  PAYLOAD_TOO_LARGE: async () => post('/api/v1/jobs', { type: 'x', input: 'x'.repeat(1024 * 1024) }),
  UNSUPPORTED_MEDIA_TYPE: async () => post('/api/v1/jobs', 'a', { 'content-type': 'text/plain' }),
  RANGE_NOT_SATISFIABLE: async () => ({
    path: v1(await succeed('short'), '/result'), headers: { range: 'bytes=1000-' }
  }),
  IDEMPOTENCY_KEY_REUSED: async () => {
    await ask(post('/api/v1/jobs', { type: 'x', input: 1 }, { 'idempotency-key': 'k' }))
    return post('/api/v1/jobs', { type: 'x', input: 2 }, { 'idempotency-key': 'k' })
  },
  RATE_LIMITED: hasty,
  INTERNAL: async () => {
    await forceRow(service, { jobId: 'damaged', status: 'Paused' })
    return { path: v1('damaged') }
  },
  OVERLOADED: overload,
  STORE_UNAVAILABLE: async () => {
    await service.sql('ALTER TABLE JobResult RENAME TO JobResultElsewhere')
    return { path: v1('not-in-the-cache') }
  }
}

for (const [code, occasion] of Object.entries(occasions)) {
  const { status, title } = catalogue[code as FailureCode]
  t.test(`${code} occurs over HTTP, with the status ${status}`, async t => {
    const request = await occasion()
    const answer = await ask(request)
    t.equal(answer.status, status)
    t.match(answer.headers.get('content-type'), /^application\/(problem\+)?json/)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    const body = await answer.json() as Json
    if (/^\/api\/(jobs|sanitize)/.test(request.path)) {
      t.match(body, {
        success: false, error: { code, message: String }
      })
    } else {
      t.match(body, {
        type: 'about:blank', title, status, detail: String, instance: request.path.split('?')[0], code
      })
    }
    if ([429, 503].includes(status)) t.match(answer.headers.get('retry-after'), /^[1-5]$/)
    if (status === 401) t.equal(answer.headers.get('www-authenticate'), 'Bearer')
  })
}
