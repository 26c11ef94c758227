import t from 'tap'
import type { Worker, WorkerJob } from '../../../src/client/client.ts'
import { jsonOf } from '../../helpers/client.ts'
import { token } from '../../helpers/tokens.ts'
import { until } from '../../helpers/until.ts'
import { openBehindProxy, openClient } from '../clients.ts'

const { service, proxy, url } = await openBehindProxy(t, { CANCEL_GRACE_SECONDS: '60' })
const { client, sent } = openClient(url)
const workers: Worker[] = []
const work: typeof client.worker = (types, handler, options) => {
  const worker = client.worker(types, handler, options)
  workers.push(worker)
  return worker
}
t.teardown(async () => { for (const worker of workers) await worker.stop() })

const aborted = (signal: AbortSignal): Promise<never> => new Promise((_resolve, reject) => {
  signal.addEventListener('abort', () => { reject(signal.reason as Error) }, { once: true })
})

t.test('runs jobs and reports progress and a JSON result', async t => {
  const seen: WorkerJob[] = []
  work(['double'], async job => {
    seen.push(job)
    await job.progress({ done: 1, total: 2, stage: 'doubling' })
    return (job.input as { n: number }).n * 2
  })
  const { jobId } = await client.submit('double', { n: 21 })
  t.match(await client.waitFor(jobId), { status: 'succeeded', result: 42 })
  t.match(seen, [{ jobId, type: 'double', attempt: 1, maxAttempts: 3, tenant: 'tester' }])
})

t.test('streams a result, in whatever form the handler returns it', async t => {
  const text = 'äöü\n'.repeat(400_000)
  const forms: Record<string, () => unknown> = {
    response: () => new Response(text, { headers: { 'content-type': 'text/csv', 'content-disposition': 'attachment; filename="a.csv"' } }),
    blob: () => new Blob([text], { type: 'text/csv' }),
    stream: () => new Response(text).body,
    bytes: () => new TextEncoder().encode(text),
    buffer: () => new TextEncoder().encode(text).buffer,
    empty: () => new Uint8Array(0),
    json: () => ({ text })
  }
  work(Object.keys(forms), ({ type }) => forms[type]?.())
  for (const form of Object.keys(forms)) {
    const { jobId } = await client.submit(form, {})
    const response = await client.result(jobId)
    const received = await response.text()
    const expected = form === 'empty' ? '' : form === 'json' ? JSON.stringify({ text }) : text
    t.ok(received === expected, `${form}: ${received.length} characters`)
    if (form === 'response') t.match(response.headers.get('content-disposition'), 'a.csv')
    if (form === 'blob') t.equal(response.headers.get('content-type'), 'text/csv')
  }
})

t.test('goes on with an upload, and with its reports, when connections are cut', async t => {
  const bytes = new Uint8Array(8_000_000).fill(7)
  work(['cut'], () => new ReadableStream({
    start (controller) {
      for (let at = 0; at < bytes.length; at += 500_000) controller.enqueue(bytes.subarray(at, at + 500_000))
      controller.close()
    }
  }))
  // The second upload is held in its middle.
  proxy.holdAfter('there', 1_500_000)
  const { jobId } = await client.submit('cut', {})
  const uploads = () => sent.filter(({ path, method }) => method === 'PUT' && path.includes(jobId))
  const stored = `SELECT count(*) FROM JobResultChunk WHERE jobId = '${jobId}' AND startOffset >= ${1024 * 1024}`
  await until(async () => Number(await service.sql(stored)) > 0, 'bytes of the second upload')
  proxy.cut()
  proxy.delay('there', 0)
  await until(() => uploads().length >= 4, 'another upload')
  proxy.cut()
  t.match(await client.waitFor(jobId), { status: 'succeeded' })
  t.ok(uploads().some(({ status }) => status === undefined), 'one was cut')
  t.equal((await (await client.result(jobId)).arrayBuffer()).byteLength, bytes.length)
})

t.test('keeps the lease of a run that takes longer, and reads raw inputs', async t => {
  const inputs: Array<[unknown, string]> = []
  work(['long', 'sanitize'], async job => {
    inputs.push([job.input, job.type === 'sanitize' ? await (await job.openInput()).text() : ''])
    if (job.type === 'long') await new Promise(resolve => setTimeout(resolve, 4500))
  }, { leaseSeconds: 3, concurrency: 2 })
  const { jobId } = await client.submit('long', 'x'.repeat(300 * 1024))
  const { data: { taskId } } = await jsonOf(service.ask('/api/sanitize/async', {
    method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'raw'
  }))
  t.match(await client.waitFor(taskId), { status: 'succeeded' })
  t.match(await client.waitFor(jobId), { status: 'succeeded', attempt: 1 })
  t.same(inputs.toSorted((one, other) => one[1].length - other[1].length), [['x'.repeat(300 * 1024), ''], [undefined, 'raw']])
})

t.test('reports what a handler throws, and whether to try again', async t => {
  work(['failing'], ({ input }) => { throw Object.assign(new Error('no'), input) })
  const fail = async (input: object) => await client.waitFor((await client.submit('failing', input, { maxAttempts: 1 })).jobId)
  t.match(await fail({}), { status: 'failed', failure: { code: 'Error', message: 'no' } })
  t.match(await fail({ code: 'E_DISK', details: [1] }), { failure: { code: 'E_DISK', details: [1] } })
  work(['unspeakable'], () => { throw Object.assign(new Error('no'), { details: { count: 1n } }) })
  const { jobId: unspeakable } = await client.submit('unspeakable', {}, { maxAttempts: 1 })
  t.match(await client.waitFor(unspeakable), { failure: { code: 'Error', message: 'no' } }, 'whatever its details are')
  const { jobId } = await client.submit('failing', { retryable: false })
  t.match(await client.waitFor(jobId), { status: 'failed', attempt: 1 }, 'the job is not tried again')
})

t.test('keeps the lease after an outage that was longer than its patience', async t => {
  const errors: unknown[] = []
  let reports = 0
  const flaky = openClient(service.url, {
    patienceMs: 0,
    platform: {
      fetch: async (target, init) => {
        if ((target as string).endsWith('/progress') && ++reports === 1) throw new TypeError('away')
        return await fetch(target, init)
      }
    }
  })
  const worker = flaky.client.worker(['outage'], async () => {
    // The last of them after the end of the lease that the claim began.
    await until(() => reports >= 4, 'further reports')
    return 'done'
  }, { leaseSeconds: 3, onError: error => { errors.push(error) } })
  const { jobId } = await client.submit('outage', {})
  t.match(await client.waitFor(jobId), { status: 'succeeded', result: 'done', attempt: 1 })
  await worker.stop()
  t.match(errors, [{ code: 'UNREACHABLE' }])
})

t.test('a job whose completion is not answered has not failed', async t => {
  const { promise: reported, resolve } = Promise.withResolvers<unknown>()
  const commands: string[] = []
  const mute = openClient(service.url, {
    patienceMs: 0,
    platform: {
      fetch: async (target, init) => {
        const answer = await fetch(target, init)
        const command = /\/(complete|fail)$/.exec(target as string)?.[1]
        if (command === undefined) return answer
        commands.push(command)
        throw new TypeError('the answer was lost')
      }
    }
  })
  const worker = mute.client.worker(['mute'], () => 'done', { onError: resolve })
  const { jobId } = await client.submit('mute', {})
  t.match(await reported, { code: 'UNREACHABLE' })
  await worker.stop()
  t.same(commands, ['complete'])
  t.match(await client.status(jobId), { status: 'succeeded', result: 'done' })
})

t.test('stops a run whose job is cancelled', async t => {
  let begun = false
  work(['endless'], async ({ signal }) => {
    begun = true
    await aborted(signal)
  }, { leaseSeconds: 1 })
  const { jobId } = await client.submit('endless', {})
  await until(() => begun, 'the run')
  await client.cancel(jobId)
  t.match(await client.waitFor(jobId), { status: 'cancelled' })
})

t.test('a run that lost its lease ends and reports nothing', async t => {
  const reasons: unknown[] = []
  work(['lost'], async ({ signal, attempt }) => {
    if (attempt > 1) return 'second'
    await service.sql("UPDATE JobQueue SET leaseToken = 'another', leaseExpiresAt = 1 WHERE type = 'lost'")
    await aborted(signal).catch((error: unknown) => { reasons.push(error) })
    return 'first'
  }, { leaseSeconds: 1 })
  const { jobId } = await client.submit('lost', {})
  t.match(await client.waitFor(jobId), { status: 'succeeded', result: 'second', attempt: 2 })
  t.match(reasons, [{ code: 'LEASE_LOST' }])
})

t.test('releases what has not ended when it stops, and completes what has', async t => {
  let begun = 0
  const worker = work(['released', 'finished'], async ({ signal, type }) => {
    begun++
    await aborted(signal).catch((error: unknown) => { if (type === 'released') throw error })
    return 'done'
  }, { concurrency: 2 })
  const { jobId } = await client.submit('released', {})
  const other = await client.submit('finished', {})
  await until(() => begun === 2, 'both runs')
  await worker.stop()
  t.match(await client.status(jobId), { status: 'queued', attempt: 0 })
  t.match(await client.status(other.jobId), { status: 'succeeded', result: 'done' })
  t.match((await jsonOf(service.ask(`/api/v1/jobs/${jobId}/attempts`))).items, [{ outcome: 'released' }])
})

t.test('ends with its signal, or if its token is not accepted', async t => {
  const controller = new AbortController()
  const { done } = work(['none'], () => {}, { signal: controller.signal })
  controller.abort()
  await done
  const { client: rejected } = openClient(service.url, { token: token({ scope: 'jobs:read' }) })
  await t.rejects(rejected.worker(['none'], () => {}).done, { code: 'FORBIDDEN' })
})
