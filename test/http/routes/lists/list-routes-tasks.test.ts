import t from 'tap'
import type { Json } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'
import type { TokenClaims } from '../../../helpers/tokens.ts'
import { insertRows } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, sql } = service

/** The data of a list of tasks. */
const listTasks = async (query: string, claims?: TokenClaims): Promise<Json> => {
  const { data } = await askJson(`/api/jobs?${query}`, claims === undefined ? {} : { claims })
  return data
}

t.test('tasks are filtered by their own statuses, so that a cancelled job is not a failed one', async t => {
  const claims = { tenant: 'cancelling' }
  await insertRows(service,
    { jobId: 'c-failed', status: 'Failed', tenant: 'cancelling' },
    { jobId: 'c-cancelled', status: 'Failed', tenant: 'cancelling', cancelledAt: '2026-01-01T00:00:00Z' },
    { jobId: 'c-running', status: 'Running', tenant: 'cancelling' })
  for (const [status, ids] of [
    ['failed', ['c-failed']], ['cancelled', ['c-cancelled']], ['running,cancelled', ['c-running', 'c-cancelled']],
    ['failed,cancelled', ['c-cancelled', 'c-failed']], ['queued', []]
  ] as const) {
    const { items } = await listTasks(`status=${status}&idPrefix=c-`, claims)
    t.same(items.map(({ taskId }: Json) => taskId), ids, status)
  }
})

t.test('long failures are cut in lists, and pages end before they become large', async t => {
  const claims = { tenant: 'heavy' }
  const message = 'm'.repeat(5000)
  const details = { more: 'd'.repeat(5000) }
  await sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO JobExecutionLog (jobId, status, tenant, progressMessage, errorDetails)
    SELECT 'heavy-' || i, 'Failed', 'heavy', '${'0'.repeat(6000)}',
      '${JSON.stringify({ code: 'E', message, details })}' FROM n`)
  const failure = { code: 'E', message: `${'m'.repeat(999)}…`, details: { truncated: true } }
  const answer = await ask('/api/v1/jobs?limit=200&idPrefix=heavy-', { claims })
  const text = await answer.text()
  t.ok(Buffer.byteLength(text) < 1024 * 1024)
  const page: Json = JSON.parse(text)
  t.equal(page.items.length, 200)
  t.same(page.items[0].errorDetails, failure)
  t.same((await askJson('/api/v1/jobs/heavy-1', { claims })).errorDetails, { code: 'E', message, details })
  t.same((await listTasks('ids=heavy-1', claims)).items[0].failure, failure)
  const seen = new Set<string>()
  let pages = 0
  for (let cursor: string | null = ''; cursor !== null && pages < 10; pages++) {
    const body = await (await ask(`/api/jobs?limit=200&idPrefix=heavy-${cursor}`, { claims })).text()
    t.ok(Buffer.byteLength(body) <= 1024 * 1024)
    const { data }: Json = JSON.parse(body)
    for (const { taskId } of data.items) seen.add(taskId)
    cursor = data.nextCursor === null ? null : `&cursor=${data.nextCursor}`
  }
  t.ok(pages > 1, 'two hundred tasks of 5 KiB each are more than one page')
  t.equal(seen.size, 200)
})

t.test('a list of tasks has no inline results', async t => {
  const jobId = await service.submit('inline', null)
  const post = (path: string, body: Json, headers = {}) =>
    askJson(`/api/v1/worker/${path}`, { method: 'POST', body, headers, claims: { scope: 'jobs:work' } })
  const { leaseToken } = await post('claim', { types: ['inline'] })
  await post(`jobs/${jobId}/complete`, { result: { result: [1, 2] } }, { 'lease-token': leaseToken })
  const single = (await askJson(`/api/jobs/${jobId}/status`)).data
  t.same(single.result, { result: [1, 2] })
  for (const query of [`ids=${jobId}`, `idPrefix=${jobId}`]) {
    t.same((await listTasks(query)).items, [{ ...single, result: null }], query)
  }
})
