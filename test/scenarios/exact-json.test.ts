import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createWorkerClient, workerClaims } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'
import { anyJsonText } from '../job/json-texts.ts'
import { insertRows } from '../http/rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, submit } = service
const { claimed, report, input } = createWorkerClient(service)

const textOf = async (path: string) => await (await ask(path)).text()
const requireIn = (what: string, whole: string, part: string) => {
  if (!whole.includes(part)) throw new Error(`${what} has not ${part}: ${whole}`)
}

t.test('an input reaches the worker, and a result the client, as they were written', async t => {
  await fc.assert(fc.asyncProperty(anyJsonText, anyJsonText, async (inputText, resultText) => {
    const body = `{"input": ${inputText}, "type":"exact"}`
    const { status } = await ask('/api/v1/jobs', { method: 'POST', body })
    if (status !== 202) throw new Error(`${status} for ${body}`)
    const answer = await ask('/api/v1/worker/claim', { method: 'POST', claims: workerClaims, body: { types: ['exact'] } })
    const claim = await answer.text()
    requireIn('the claim', claim, `"input":${inputText}`)
    const { jobId, leaseToken } = JSON.parse(claim) as { jobId: string, leaseToken: string }
    const read = await (await input(jobId, leaseToken)).text()
    if (read !== inputText) throw new Error(`the input is ${read}, not ${inputText}`)
    await report(jobId, 'complete', leaseToken, `{ "result" :${resultText} }`)
    const result = await ask(`/api/v1/jobs/${jobId}/result`)
    const bytes = Buffer.from(await result.arrayBuffer())
    if (String(bytes) !== resultText) throw new Error(`the result is ${String(bytes)}, not ${resultText}`)
    const digest = createHash('sha256').update(resultText).digest('base64')
    requireIn('the digest', result.headers.get('repr-digest') ?? '', digest)
    requireIn('the task view', await textOf(`/api/jobs/${jobId}/status`), `"result":${resultText}`)
  }), { numRuns: 15 })
  t.pass('by examples of any kind')
})

t.test('details of a failure are shown as its worker wrote them', async t => {
  await fc.assert(fc.asyncProperty(anyJsonText.filter(text => text !== 'null'), async details => {
    await submit('exact', null)
    const { jobId, leaseToken } = await claimed('exact')
    const body = `{"retryable":false, "error": {"message":"m", "details": ${details}, "code":"E"}}`
    const { status } = await report(jobId, 'fail', leaseToken, body)
    if (status !== 200) throw new Error(`${status} for ${body}`)
    const failure = `{"code":"E","message":"m","details":${details}}`
    requireIn('the v1 view', await textOf(`/api/v1/jobs/${jobId}`), `"errorDetails":${failure}`)
    requireIn('the task view', await textOf(`/api/jobs/${jobId}/status`), `"failure":${failure}`)
    requireIn('the list', await textOf('/api/v1/jobs?limit=1'), `"errorDetails":${failure}`)
  }), { numRuns: 15 })
  t.pass('by examples of any kind')
})

t.test('details that another program recorded are shown as it wrote them', async t => {
  const details = '{"id":1970670598291982290, "price": 2.50,"huge":1e999}'
  await insertRows(service,
    { jobId: 'known', status: 'Failed', errorDetails: `{"code":"E","message":"m","details":${details}}` },
    { jobId: 'unknown', status: 'Failed', errorDetails: details })
  requireIn('a failure in our form', await textOf('/api/v1/jobs/known'), `"message":"m","details":${details}}`)
  const unspecified = `"failure":{"code":"UNSPECIFIED","message":"The job failed; no details were recorded.","details":${details}}`
  requireIn('a failure in any form', await textOf('/api/jobs/unknown/status'), unspecified)
  requireIn('the answer to several ids', await textOf('/api/v1/jobs?ids=known,unknown'), details)
  t.match(await askJson('/api/v1/jobs/known'), { errorDetails: { details: { price: 2.5 } } })
})
