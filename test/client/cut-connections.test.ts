import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { createWorkerClient } from '../helpers/client.ts'
import { spawnService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'
import { freePort } from '../helpers/redis.ts'
import { openBehindProxy, openClient, withAnswers } from './clients.ts'

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

t.test('halves its wait after each cut, not below 5 s, polls where those are cut too, and later tries again', async t => {
  const slept: number[] = []
  const { client, sent } = openClient('http://127.0.0.1:1', {
    patienceMs: 1e9,
    platform: {
      now: () => { ms += 10_000; return ms },
      random: () => 0,
      sleep: async ms => { slept.push(ms) },
      fetch: async target => {
        if (!(target as string).endsWith('wait=0')) throw new TypeError('cut')
        const isTerminal = sent.length > 30
        return Response.json({ success: true, data: { isTerminal } }, { headers: { 'retry-after-ms': '700' } })
      }
    }
  })
  let ms = 0
  await client.waitFor('a')
  const waits = sent.map(({ path }) => path.replace(/.*=/, ''))
  t.same(waits.slice(0, 8), ['55', '27', '13', '6', '5', '5', '0', '0'])
  t.same(slept.slice(6, 8), [700, 700], 'as the service asks it to')
  t.same(waits.slice(24, 30), ['0', '0', '5', '5', '0', '0'])
})

t.test('follows a job that does not change, however often its connection is cut', async t => {
  const { service, proxy, url } = await openBehindProxy(t)
  let ms = 0
  const slept: number[] = []
  const { client, sent } = openClient(url, { platform: { now: () => ms, sleep: async pause => { slept.push(pause) } } })
  const { jobId } = await openClient(service.url).client.submit('calm', {})
  const states: string[] = []
  const connections: string[] = []
  const end = (async () => {
    for await (const event of client.events(jobId, { onState: state => { connections.push(state) } })) {
      states.push(event.kind === 'status' ? event.task.status : event.kind)
    }
  })()
  await until(() => states.length === 1, 'the first state')
  for (let cuts = 1; cuts <= 3; cuts++) {
    ms += 61_000
    proxy.cut()
    await until(() => connections.filter(state => state === 'live').length === cuts + 1, 'the next connection')
  }
  await openClient(service.url).client.cancel(jobId)
  await end
  t.same(states, ['queued', 'cancelled'])
  t.equal(sent.length, 4)
  t.same(connections, ['connecting', 'live', 'waiting', 'live', 'waiting', 'live', 'waiting', 'live', 'ended'])
  t.ok(slept.every(pause => pause >= 2000), `as the stream asks it to: ${slept.join()}`)
})

t.test('a download that is given up opens no further connection', async t => {
  const { proxy, url, service } = await openBehindProxy(t)
  const signals: Array<AbortSignal | undefined> = []
  const { client } = openClient(url, {
    platform: { sleep: async (_ms, signal) => { signals.push(signal); await new Promise(() => {}) } }
  })
  const direct = openClient(service.url).client
  const { jobId } = await direct.submit('given-up', {})
  const uploader = direct.worker(['given-up'], () => new Uint8Array(3_000_000))
  await direct.waitFor(jobId)
  await uploader.stop()
  proxy.holdAfter('back', 1_000_000)
  const reader = (await client.result(jobId)).body?.getReader()
  await reader?.read()
  proxy.refuse(true)
  proxy.cut()
  const rest = (async () => { while ((await reader?.read())?.done === false); })()
  await until(() => signals.length > 0, 'the pause before the next connection')
  await reader?.cancel()
  await rest
  t.equal(signals.at(-1)?.aborted, true)
})

t.test('a download that something on the way has compressed is complete', async t => {
  const { service, jobId } = await withResult(t, Buffer.from('0123456789'.repeat(1000)))
  const compressed = withAnswers(service.url, async real => {
    const answer = await real()
    const headers = new Headers(answer.headers)
    headers.set('content-encoding', 'gzip')
    headers.set('content-length', '5000')
    return new Response(answer.body, { status: answer.status, headers })
  })
  t.equal((await (await compressed.client.result(jobId)).text()).length, 10_000)
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
  proxy.holdAfter('back', 1_000_000)
  const response = await client.result(jobId)
  const reader = response.body?.getReader()
  await reader?.read()
  await service.sql(`UPDATE JobResult SET sha256 = '${createHash('sha256').digest('base64')}' WHERE jobId = '${jobId}'`)
  proxy.cut()
  proxy.delay('back', 0)
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
