import t from 'tap'
import { startService } from '../helpers/service.ts'
import type { TokenClaims } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { forceRow, insertRows, whole } from './rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, submit } = service

const owner = { sub: 'ann', tenant: 'acme' }
const stranger = { sub: 'bob', tenant: 'globex' }
const admin = { sub: 'root', scope: 'jobs:read jobs:admin' }
const routes = (id: string) => [
  `/api/v1/jobs/${id}`, `/api/jobs/${id}/status`, `/api/v1/jobs/${id}/result`, `/api/jobs/${id}/result`
]

t.test('a client reads rows of its own tenant and of no tenant; an admin reads all', async t => {
  await insertRows(service,
    { jobId: 'of-acme', status: 'Running', tenant: 'acme' },
    { jobId: 'of-globex', status: 'Running', tenant: 'globex' },
    { jobId: 'of-no-tenant', status: 'Running' },
    { jobId: 'of-empty', status: 'Running', tenant: '' })
  const cases: Array<[string, TokenClaims, Record<string, number>]> = [
    ['owner', owner, { 'of-acme': 200, 'of-globex': 404, 'of-no-tenant': 200, 'of-empty': 200 }],
    ['stranger', stranger, { 'of-acme': 404, 'of-globex': 200, 'of-no-tenant': 200, 'of-empty': 200 }],
    ['admin', admin, { 'of-acme': 200, 'of-globex': 200, 'of-no-tenant': 200, 'of-empty': 200 }],
    ['same tenant', { sub: 'carl', tenant: 'acme' }, { 'of-acme': 200, 'of-globex': 404 }],
    ['tenant in another case', { sub: 'ann', tenant: 'Acme' }, { 'of-acme': 404 }]
  ]
  for (const [who, claims, expected] of cases) {
    for (const [id, status] of Object.entries(expected)) {
      for (const path of [`/api/v1/jobs/${id}`, `/api/jobs/${id}/status`]) {
        t.equal((await ask(path, { claims })).status, status, `${who}: ${path}`)
      }
    }
  }
})

t.test('the subject is the tenant of a token without a tenant claim', async t => {
  const jobId = await submit('unclaimed', null, { claims: { sub: 'dora' } })
  t.equal(await service.sql(`SELECT tenant FROM JobExecutionLog WHERE jobId = '${jobId}'`), 'dora')
  t.equal((await ask(`/api/v1/jobs/${jobId}`, { claims: { sub: 'dora' } })).status, 200)
  t.equal((await ask(`/api/v1/jobs/${jobId}`, { claims: { sub: 'other', tenant: 'dora' } })).status, 200)
  t.equal((await ask(`/api/v1/jobs/${jobId}`, { claims: { sub: 'dora', tenant: 'other' } })).status, 404)
})

t.test('jobs:admin without jobs:read cannot read', async t => {
  t.equal((await ask('/api/v1/jobs/of-acme', { claims: { sub: 'root', scope: 'jobs:admin' } })).status, 403)
})

const reads = (id: string) => routes(id).flatMap(path => ['GET', 'HEAD'].flatMap(method =>
  [{}, { 'if-none-match': '*' }, { 'if-none-match': '"x", W/"y"' }].map(headers => ({ path, method, headers }))))

/** All reads of an id by a client of another tenant. */
const readAll = async (id: string) => {
  const answers = []
  for (const { path, method, headers } of reads(id)) {
    answers.push({ method, path, headers, answer: await whole(await ask(path, { method, headers, claims: stranger })) })
  }
  return answers
}

const secrets = {
  running: (jobId: string) => insertRows(service, { jobId, status: 'Running', tenant: 'acme', progressPercent: 50 }),
  succeeded: (jobId: string) => insertRows(service, {
    jobId, status: 'Succeeded', tenant: 'acme', resultUrl: 'https://example.org/a'
  }),
  failed: (jobId: string) => insertRows(service, { jobId, status: 'Failed', tenant: 'acme', errorDetails: 'x' }),
  cancelled: (jobId: string) => insertRows(service, {
    jobId, status: 'Failed', tenant: 'acme', cancelledAt: '2026-01-01'
  }),
  stopping: (jobId: string) => insertRows(service, {
    jobId, status: 'Running', tenant: 'acme', submittedBy: 'ann', cancelRequestedAt: '2026-01-01'
  }),
  damaged: (jobId: string) => forceRow(service, { jobId, status: 'Paused', tenant: 'acme' }),
  erased: async (jobId: string) => {
    await insertRows(service, { jobId, status: 'Succeeded', tenant: 'acme' })
    await service.sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  }
}

const seenByOwner = {
  running: 200, succeeded: 200, failed: 200, cancelled: 200, stopping: 200, damaged: 500, erased: 410
}

for (const [kind, write] of Object.entries(secrets)) {
  t.test(`the response for a ${kind} job of another tenant equals that for an unknown id, byte for byte`, async t => {
    const jobId = `secret-${kind}`
    const unknown = await readAll(jobId)
    t.equal(unknown.length, 24)
    for (const { path, method, answer } of unknown) {
      t.equal(answer.status, 404, `${method} ${path}`)
      t.match(answer.body, method === 'HEAD' ? /^$/ : /JOB_NOT_FOUND/)
    }
    await write(jobId)
    // The first reads find an empty cache, or one that still has the entry of an absent job.
    t.same(await readAll(jobId), unknown, 'first reads')
    const expected = seenByOwner[kind as keyof typeof seenByOwner]
    await until(
      async () => (await ask(`/api/v1/jobs/${jobId}`, { claims: owner })).status === expected, 'the owner to see it'
    )
    t.same(await readAll(jobId), unknown, 'after the owner has read it')
  })
}

t.test('the ETag of a job of another tenant gives no access', async t => {
  const eTag = (await ask('/api/v1/jobs/of-acme', { claims: owner })).headers.get('etag') ?? ''
  for (const path of routes('of-acme')) {
    const answer = await ask(path, { claims: stranger, headers: { 'if-none-match': eTag } })
    t.equal(answer.status, 404, path)
    t.notOk(answer.headers.has('etag'))
  }
})

t.test('ids are case-sensitive', async t => {
  await insertRows(service, { jobId: 'Case', status: 'Running' }, { jobId: 'case', status: 'Queued' })
  const statuses = await Promise.all(
    ['Case', 'case', 'CASE'].map(async id => (await ask(`/api/v1/jobs/${id}`)).headers.get('job-state'))
  )
  t.same(statuses, ['running', 'queued', null])
})
