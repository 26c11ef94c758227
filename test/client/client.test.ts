import { createHash as createNodeHash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { createClient, jsonText, JobServiceError } from '../../src/client/client.ts'
import { createHash } from '../../src/client/hash.ts'
import { createPortableHash } from '../../src/client/sha256.ts'
import { type Claimed, createWorkerClient } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { openClient, withAnswers } from './clients.ts'

const service = await startService(t, { WORKERS: '0' })
const worker = createWorkerClient(service)
const { client, sent } = openClient(service.url)

t.test('submits a job, once whatever happens to its request, with every digit of a JSON text', async t => {
  const { jobId, status } = await client.submit('mine', jsonText('{ "n": 1970670598291982290.50 }'), { maxAttempts: 2 })
  t.equal(status, 'Queued')
  t.equal(await (await service.ask(`/api/v1/jobs/${jobId}/input`)).text(), '{ "n": 1970670598291982290.50 }')
  const again = await client.submit('mine', 1, { idempotencyKey: 'key' })
  t.equal((await client.submit('mine', 1, { idempotencyKey: 'key' })).jobId, again.jobId)
  let isFirst = true
  const lossy = openClient(service.url, {
    platform: {
      fetch: async (...args) => {
        const answer = await fetch(...args)
        if (!isFirst) return answer
        isFirst = false
        throw new TypeError('the answer was lost')
      }
    }
  })
  const before = await service.sql('SELECT count(*) FROM JobExecutionLog')
  await lossy.client.submit('mine', 2)
  t.equal(await service.sql('SELECT count(*) FROM JobExecutionLog'), String(Number(before) + 1))
})

t.test('waits for the end of a job with one request', async t => {
  const { jobId } = await client.submit('waited', {})
  const before = sent.length
  const end = client.waitFor(jobId)
  const { leaseToken } = await worker.claimed('waited')
  await worker.report(jobId, 'progress', leaseToken, { percent: 50 })
  await worker.report(jobId, 'complete', leaseToken, { result: { rows: 2 } })
  t.match(await end, { taskId: jobId, status: 'succeeded', isSuccess: true, result: { rows: 2 } })
  t.equal(sent.length - before, 1)
  t.match(await client.status(jobId), { status: 'succeeded', progress: { percent: 100 } })
})

t.test('reports the first state and each newer one while it waits', async t => {
  const { jobId } = await client.submit('watched', {})
  const seen: string[] = []
  const steps: Record<string, () => Promise<unknown>> = {
    'queued 0': () => { claimed.resolve(worker.claimed('watched')); return claimed.promise },
    'running 0': async () => worker.report(jobId, 'progress', (await claimed.promise).leaseToken, { percent: 50 }),
    'running 50': async () => worker.report(jobId, 'fail', (await claimed.promise).leaseToken, {
      error: { code: 'E', message: 'm' }, retryable: false
    })
  }
  const claimed = Promise.withResolvers<Claimed>()
  const task = await client.waitFor(jobId, {
    onProgress: ({ status, progress: { percent } }) => {
      const state = `${status} ${percent}`
      seen.push(state)
      void steps[state]?.()
    }
  })
  t.same(seen, ['queued 0', 'running 0', 'running 50'])
  t.match(task, { status: 'failed', failure: { code: 'E' } })
})

t.test('lists jobs, cancels one, and follows the events of another', async t => {
  const ids: string[] = []
  for (let job = 0; job < 3; job++) ids.push((await client.submit('listed', {})).jobId)
  const [first = '', second = ''] = ids
  const listed = await Array.fromAsync(client.list({ type: 'listed' }))
  t.same(listed.map(({ taskId }) => taskId), ids.toReversed())
  t.match(await client.cancel(first), { status: 'cancelled' })
  t.equal((await Array.fromAsync(client.list({ type: 'listed', status: 'queued' }))).length, 2)
  const states: string[] = []
  for await (const event of client.events(second)) {
    states.push(event.kind === 'status' ? event.task.status : event.kind)
    if (states.length === 1) await client.cancel(second)
  }
  t.same(states, ['queued', 'cancelled'])
  await t.rejects(client.cancel('no-such-job'), { code: 'JOB_NOT_FOUND', status: 404 })
})

t.test('rejects with the code of the service, in either shape, and with the reason of a signal', async t => {
  await t.rejects(client.status('no-such-job'), { name: 'JobServiceError', code: 'JOB_NOT_FOUND', status: 404 })
  await t.rejects(client.submit('NO TYPE', {}), { code: 'VALIDATION_FAILED', status: 400, message: /type/ })
  await t.rejects(client.waitFor('no-such-job'), { code: 'JOB_NOT_FOUND' })
  await t.rejects(client.result('no-such-job'), { code: 'JOB_NOT_FOUND' })
  await t.rejects(Array.fromAsync(client.events('no-such-job')), { code: 'JOB_NOT_FOUND' })
  await t.rejects(createClient({ url: service.url, token: 'x' }).status('a'), { code: 'UNAUTHORIZED', status: 401 })
  const { jobId } = await client.submit('aborted', {})
  const reason = new Error('enough')
  const calls: Array<(signal: AbortSignal) => Promise<unknown>> = [
    signal => client.waitFor(jobId, { signal }), signal => client.result(jobId, { signal }),
    signal => Array.fromAsync(client.events(jobId, { signal }))
  ]
  for (const call of calls) {
    const controller = new AbortController()
    const before = sent.length
    const end = call(controller.signal)
    while (sent.length === before) await new Promise(resolve => setImmediate(resolve))
    controller.abort(reason)
    await t.rejects(end, reason)
  }
})

t.test('asks a function for the token, and once more where the service rejects it', async t => {
  const tokens = ['expired', token(), token()]
  const renewing = createClient({ url: service.url, token: async () => tokens.shift() ?? '' })
  await t.rejects(renewing.status('a'), { code: 'JOB_NOT_FOUND' })
  t.equal(tokens.length, 1)
  const same = openClient(service.url, { token: () => 'x' })
  await t.rejects(same.client.status('a'), { code: 'UNAUTHORIZED' })
  t.equal(same.sent.length, 1, 'the same token would be rejected again')
})

t.test('gives up where nothing answers for as long as it is patient', async t => {
  let ms = 0
  const slept: number[] = []
  const lonely = openClient('http://127.0.0.1:1', {
    patienceMs: 20_000,
    platform: { now: () => ms, random: () => 1, sleep: async pause => { slept.push(pause); ms += pause } }
  })
  await t.rejects(lonely.client.status('a'), { code: 'UNREACHABLE', status: 0 })
  t.same(slept.slice(0, 6), [250, 500, 1000, 2000, 4000, 8000])
  t.equal(lonely.sent.length, slept.length + 1)
})

t.test('does not wait longer than it is patient, and says how long the service wants it to', async t => {
  const away = withAnswers(service.url, () => new Response(null, { status: 503, headers: { 'retry-after': '3600' } }))
  await t.rejects(away.client.status('a'), { code: 'UNKNOWN', retryAfterMs: 3_600_000 })
  t.equal(away.sent.length, 1)
  await t.rejects(away.client.status('a', { patienceMs: 0 }), { code: 'UNKNOWN' })
})

t.test('tells responses of the service from those of something on the way', async t => {
  const answers = [
    Response.json({ error: 'Bad Gateway' }, { status: 400 }), Response.json({ code: 404, message: 'no route' }, { status: 404 }),
    new Response('null', { status: 400 }), new Response('<html>', { status: 200 })
  ]
  const between = withAnswers(service.url, () => answers.shift())
  for (const status of [400, 404, 400, 200]) await t.rejects(between.client.status('a'), { name: 'JobServiceError', code: 'UNKNOWN', status })
})

t.test('repeats a request whose response was cut', async t => {
  const { jobId } = await client.submit('cut', {})
  const half = new ReadableStream({
    pull: controller => {
      controller.enqueue(new TextEncoder().encode('{"success":'))
      controller.error(new TypeError('terminated'))
    }
  })
  const answers = [new Response(half), undefined]
  const cut = withAnswers(service.url, () => answers.shift())
  t.match(await cut.client.status(jobId), { taskId: jobId })
  t.equal(cut.sent.length, 2)
})

t.test('waits for changes where a proxy takes the ETag away', async t => {
  const { jobId } = await client.submit('untagged', {})
  const untagged = withAnswers(service.url, async answer => {
    const real = await answer()
    const headers = new Headers(real.headers)
    headers.delete('etag')
    return new Response(real.body, { status: real.status, headers })
  })
  const task = await untagged.client.waitFor(jobId, { onProgress: () => { void client.cancel(jobId) } })
  t.equal(task.status, 'cancelled')
  t.same(untagged.sent.map(({ path }) => path.replace(/^[^?]*/, '')), ['', '?wait=55'])
})

t.test('submits where the platform has no randomUUID, as a page that came over plain HTTP', async t => {
  Object.defineProperty(crypto, 'randomUUID', { value: undefined, configurable: true })
  t.teardown(() => { Reflect.deleteProperty(crypto, 'randomUUID') })
  const [one, other] = [await client.submit('keyed', 1), await client.submit('keyed', 1)]
  t.not(one.jobId, other.jobId)
})

t.test('sends other requests of the API, and reports the state of a stream', async t => {
  const { jobId } = await client.submit('streamed', {})
  const response = await client.request(`/api/v1/jobs/${jobId}/attempts`)
  t.same(await response.json(), { items: [] })
  await t.rejects(client.request('/api/v1/none'), { code: 'NOT_FOUND', status: 404 })
  const states: string[] = []
  const onState = (state: string, error: unknown): void => { states.push(error instanceof JobServiceError ? `${state} ${error.code}` : state) }
  for await (const { event, id, data } of client.stream(`/api/jobs/${jobId}/events`, { onState })) {
    t.match([event, id, JSON.parse(data)], ['status', /^\w+\.\d+$/, { data: { taskId: jobId } }])
    await client.cancel(jobId)
  }
  t.same(states, ['connecting', 'live', 'waiting', 'ended'], 'the last connection says that the last event was the end')
  for (const [end, path, lastEventId] of [
    ['expired CURSOR_EXPIRED', '/api/events', '0123456789abcdef-1'], ['ended JOB_NOT_FOUND', '/api/jobs/none/events', '']
  ] as const) {
    states.length = 0
    await t.rejects(Array.fromAsync(client.stream(path, { onState, lastEventId })), { code: end.replace(/.* /, '') })
    t.same(states, ['connecting', end])
  }
})

t.test('reads what workers say in events, whatever line breaks there are in it', async t => {
  const { jobId } = await client.submit('broken', {})
  const { leaseToken } = await worker.claimed('broken')
  const message = 'a\u2028event: gone\u2029data: {}\r\nb'
  await worker.report(jobId, 'progress', leaseToken, { message })
  const { value } = await client.events(jobId).next()
  t.match(value, { kind: 'status', task: { progress: { message } } })
})

t.test('leaves nothing at the signal of its caller', async t => {
  const { signal } = new AbortController()
  let listeners = 0
  t.intercept(signal, 'addEventListener', {
    value: (...args: Parameters<EventTarget['addEventListener']>) => {
      listeners++
      EventTarget.prototype.addEventListener.apply(signal, args)
    }
  })
  t.intercept(signal, 'removeEventListener', {
    value: (...args: Parameters<EventTarget['removeEventListener']>) => {
      listeners--
      EventTarget.prototype.removeEventListener.apply(signal, args)
    }
  })
  const any = t.intercept(AbortSignal, 'any', { value: () => { throw new Error('not freed while the signal lives') } })
  const { jobId } = await client.submit('signalled', {}, { signal })
  for await (const event of client.events(jobId, { signal })) if (event.kind === 'status') await client.cancel(jobId, { signal })
  await client.waitFor(jobId, { signal })
  await Array.fromAsync(client.list({ type: 'signalled', signal }))
  const { jobId: other } = await client.submit('signalled-too', {}, { signal })
  const { leaseToken } = await worker.claimed('signalled-too')
  await worker.report(other, 'complete', leaseToken, { result: 1 })
  t.equal(listeners, 0)
  t.same(any(), [])
})

t.test('honours Retry-After of a 429 and a 503, and tries again', async t => {
  const limited = await startService(t, { WORKERS: '0', RATE_LIMIT_PER_MINUTE: '30' }, `${service.databasePath}.limited`)
  const slept: number[] = []
  const eager = openClient(limited.url, {
    platform: { random: () => 0, sleep: async ms => { slept.push(ms); await new Promise(resolve => setTimeout(resolve, ms)) } }
  })
  const { jobId } = await eager.client.submit('limited', {})
  const countLimited = () => eager.sent.filter(({ status }) => status === 429).length
  while (countLimited() < 3) await eager.client.status(jobId)
  t.ok(slept.every(ms => ms >= 1000), slept.join())
})

t.test('takes the hash of bytes in whatever parts they come', async t => {
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 })), async parts => {
    const portable = createPortableHash()
    const hash = await createHash()
    for (const part of parts) for (const each of [portable, hash]) each.update(part)
    const expected = createNodeHash('sha256').update(Buffer.concat(parts)).digest('base64')
    t.same([portable.digest(), hash.digest()], [expected, expected])
  }), { numRuns: 200 })
  const large = createPortableHash()
  large.update(new Uint8Array(10_000_000))
  t.equal(large.digest(), createNodeHash('sha256').update(Buffer.alloc(10_000_000)).digest('base64'))
})

t.test('the client imports nothing but itself', t => {
  for (const file of globSync('src/client/**/*.ts')) {
    for (const [, from = ''] of readFileSync(file, 'utf8').matchAll(/(?: from |\bimport\()'([^']+)'/g)) {
      t.match(join(dirname(file), from), /^src\/client\/[\w/-]+\.ts$/, file)
    }
  }
  t.end()
})
