import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { createWorkerClient } from '../helpers/client.ts'
import { spawnService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'
import { freePort } from '../helpers/redis.ts'
import { openBehindProxy, openClient } from './clients.ts'

t.jobs = 4

t.test('behind a proxy that cuts idle connections after 20 s, a job of 30 s costs at most 5 requests', { timeout: 120_000 }, async t => {
  const { service, proxy, url } = await openBehindProxy(t)
  const worker = createWorkerClient(service)
  const { client, sent } = openClient(url)
  const { jobId } = await client.submit('slow', {})
  const { leaseToken } = await worker.claimed('slow', { leaseSeconds: 60 })
  const before = sent.length
  const end = client.waitFor(jobId)
  const cutting = setInterval(proxy.cut, 20_000)
  t.teardown(() => { clearInterval(cutting) })
  await new Promise(resolve => setTimeout(resolve, 30_000))
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  t.match(await end, { status: 'succeeded' })
  const waited = sent.slice(before)
  t.ok(waited.length >= 2 && waited.length <= 5, `${waited.length} requests`)
  t.match(waited.map(({ path }) => path.replace(/.*\?/, '')).slice(0, 2), ['wait=55', 'wait=27'], 'it asks for half the time')
})

t.test('halves its wait after each cut, and not below 5 s', async t => {
  const { client, sent } = openClient('http://127.0.0.1:1', {
    patienceMs: 1e9,
    platform: {
      now: () => { ms += 10_000; return ms },
      sleep: async () => {},
      fetch: async target => {
        sent.push({ method: '', path: (target as string), status: undefined })
        if (sent.length < 7) throw new TypeError('cut')
        return Response.json({ success: true, data: { isTerminal: true } })
      }
    }
  })
  let ms = 0
  await client.waitFor('a')
  t.same(sent.map(({ path }) => path.replace(/.*=/, '')), ['55', '27', '13', '6', '5', '5', '5'])
})

t.test('waits, follows events and changes, and downloads across restarts of the service', { timeout: 120_000 }, async t => {
  const port = await freePort()
  const env = { PORT: String(port), WORKERS: '0' }
  let service = await spawnService(t, env)
  const { databasePath } = service
  const { client } = openClient(`http://127.0.0.1:${port}`)
  const worker = createWorkerClient({ ask: (...args) => service.ask(...args) })
  const { jobId } = await client.submit('restarted', {})
  const end = client.waitFor(jobId)
  const states: string[] = []
  const followed = (async () => {
    for await (const event of client.events(jobId)) states.push(event.kind === 'status' ? event.task.status : event.kind)
  })()
  const controller = new AbortController()
  const changed: string[] = []
  const mirrored = (async () => {
    for await (const change of client.changes({ signal: controller.signal })) {
      changed.push(change.kind === 'job' ? change.task.status : change.kind)
    }
  })().catch(() => {})
  await until(() => states.length > 0 && changed.includes('ready'), 'the first state')
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    await service.kill(signal)
    service = await spawnService(t, env, databasePath)
  }
  const { leaseToken } = await worker.claimed('restarted')
  await until(() => states.includes('running') && changed.includes('running'), 'the next state', 30_000)
  await worker.upload(jobId, leaseToken, 0, 'the result', { headers: { 'content-type': 'text/plain' } })
  await service.kill('SIGTERM')
  service = await spawnService(t, env, databasePath)
  await worker.report(jobId, 'complete', leaseToken, {})
  t.match(await end, { status: 'succeeded' })
  await followed
  t.same([states.at(-1), states.filter(state => state === 'succeeded').length], ['succeeded', 1])
  await until(() => changed.at(-1) === 'succeeded', 'the last change', 30_000)
  t.same(changed.slice(0, 3), ['reset', 'queued', 'ready'])
  t.equal(changed.filter(kind => kind === 'reset').length, 1, 'it goes on where it was')
  controller.abort()
  await mirrored
  t.equal(await (await client.result(jobId)).text(), 'the result')
})

/** A job with a large result, behind a proxy. */
const withResult = async (t: Test, bytes: Buffer) => {
  const { service, proxy, url } = await openBehindProxy(t)
  const { client, sent } = openClient(url)
  const { jobId } = await client.submit('large', {})
  const uploader = openClient(service.url).client.worker(['large'], () => bytes)
  await client.waitFor(jobId)
  await uploader.stop()
  return { service, proxy, client, sent, jobId }
}

t.test('goes on with a download where it was cut, and checks the digest of the whole', async t => {
  const bytes = Buffer.alloc(20_000_000)
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761) % 2 ** 32, at)
  const { proxy, client, sent, jobId } = await withResult(t, bytes)
  const before = sent.length
  const response = await client.result(jobId)
  t.equal(response.headers.get('content-length'), String(bytes.length))
  const hash = createHash('sha256')
  let received = 0
  let cuts = 0
  for await (const chunk of response.body ?? []) {
    hash.update(chunk)
    received += chunk.length
    if (received > (cuts + 1) * 5_000_000 && cuts < 3) {
      cuts++
      proxy.cut()
    }
  }
  t.equal(received, bytes.length)
  t.equal(hash.digest('base64'), createHash('sha256').update(bytes).digest('base64'))
  const statuses = sent.slice(before).map(({ status }) => status)
  t.equal(statuses[0], 200)
  t.ok(statuses.slice(1).includes(206), statuses.join())
})

t.test('a download fails whose bytes are not those of its digest, or which was replaced meanwhile', async t => {
  const { service, proxy, client, jobId } = await withResult(t, Buffer.alloc(3_000_000, 1))
  await service.sql(`UPDATE JobResultChunk SET bytes = zeroblob(length(bytes)) WHERE jobId = '${jobId}' AND startOffset > 0`)
  await t.rejects((await client.result(jobId)).arrayBuffer(), { code: 'RESULT_DAMAGED' })
  const response = await client.result(jobId)
  const reader = response.body?.getReader()
  await reader?.read()
  await service.sql(`UPDATE JobResult SET sha256 = '${createHash('sha256').digest('base64')}' WHERE jobId = '${jobId}'`)
  proxy.cut()
  await t.rejects(async () => { while ((await reader?.read())?.done === false); }, { code: /RESULT_CHANGED|INTERNAL/ })
})

t.test('resumes the download of an earlier call, or begins again where the result is another', async t => {
  const bytes = Buffer.from('0123456789'.repeat(1000))
  const { client, jobId } = await withResult(t, bytes)
  const eTag = (await client.result(jobId)).headers.get('etag') ?? ''
  const rest = await client.result(jobId, { offset: 9990, eTag })
  t.equal(rest.status, 206)
  t.equal(await rest.text(), '0123456789')
  const whole = await client.result(jobId, { offset: 9990, eTag: '"another"' })
  t.equal(whole.status, 200)
  t.equal((await whole.text()).length, bytes.length)
})

t.test('lists all jobs again where its cursor is too old, and learns what is gone', async t => {
  const { service, url } = await openBehindProxy(t)
  const { client } = openClient(url)
  const { jobId } = await client.submit('mirrored', {})
  const controller = new AbortController()
  const seen: string[] = []
  const mirrored = (async () => {
    for await (const change of client.changes({ since: '0123456789abcdef-1', signal: controller.signal })) {
      seen.push(change.kind === 'job' ? change.task.status : change.kind)
    }
  })()
  await until(() => seen.includes('ready'), 'the list')
  await client.cancel(jobId)
  await until(() => seen.at(-1) === 'cancelled', 'the change')
  await service.ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE' })
  await until(() => seen.at(-1) === 'gone', 'the end')
  // At least once: the list and the feed may both have the first state.
  t.same(seen.filter((kind, at) => kind !== seen[at - 2]), ['reset', 'queued', 'ready', 'cancelled', 'gone'])
  controller.abort(new Error('enough'))
  await t.rejects(mirrored, { message: 'enough' })
})
