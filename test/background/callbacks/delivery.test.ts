import t, { type Test } from 'tap'
import { createCallbackDelivery, type TryReport } from '../../../src/background/callbacks/delivery.ts'
import type { CallbackMessage, SendCallback } from '../../../src/background/callbacks/send-callback.ts'
import { ServiceFailure } from '../../../src/errors.ts'
import { pauseBeforeNextTry, type TryOutcome } from '../../../src/job/callbacks/callback.ts'
import { createToCallbackBody } from '../../../src/views/callback-body.ts'
import { createDeliverCallbacks, type DeliverCallbacks } from '../../../src/write/callbacks/deliver-callbacks.ts'
import { createRedeliverCallback } from '../../../src/write/callbacks/redeliver-callback.ts'
import { openParts } from '../../helpers/parts.ts'
import { until } from '../../helpers/until.ts'

const delivered: TryOutcome = { kind: 'delivered', status: 200 }
const failing = (status = 500, more = {}): TryOutcome =>
  ({ kind: 'failed', status, error: `answered ${status}`, retryAfterMs: 0, isFinal: false, ...more })

const submitter = { subject: 'ann', tenant: 'acme', allTenants: false }
const leaseMs = 30_000

/** Sends that the test lets end, one at a time or all as they begin. */
const createSender = () => {
  type Sending = { message: CallbackMessage, end: (outcome: TryOutcome) => void }
  const underWay: Sending[] = []
  const sent: CallbackMessage[] = []
  let answer: ((message: CallbackMessage) => TryOutcome | undefined) | undefined
  const send: SendCallback = (message, signal) => new Promise(resolve => {
    sent.push(message)
    const outcome = answer?.(message)
    if (outcome !== undefined) return resolve(outcome)
    const sending: Sending = { message, end: resolve }
    underWay.push(sending)
    signal.addEventListener('abort', () => { resolve(failing(0)) })
  })
  return {
    send,
    sent,
    underWay,
    answers: (next: typeof answer) => { answer = next },
    to: (part: string) => sent.filter(({ url }) => url.includes(part)).length
  }
}

/**
 * A store with its delivery. `clock.ahead` moves its clock on. `clock.stop` stops it, in an hour, so that what other clocks
 * make due is due: on a slow machine, too, all hosts that answer are quick then, and nothing gets due by itself.
 */
const openDelivery = async (t: Test, limits = { perHostMax: 2, atOnceMax: 10 }, around = (d: DeliverCallbacks) => d) => {
  let stoppedAt: number | undefined
  const clock = { ahead: 0, stop: () => { stoppedAt = Date.now() + 3_600_000 } }
  const now = () => (stoppedAt ?? Date.now()) + clock.ahead
  const parts = await openParts(t, { now })
  const sender = createSender()
  const reports: TryReport[] = []
  let tokens = 0
  const createDelivery = () => createCallbackDelivery({
    callbacks: parts.store.callbacks,
    deliver: around(createDeliverCallbacks({
      commit: parts.commit,
      now,
      random: () => 0.5,
      randomId: () => `lease-${++tokens}`,
      leaseMs,
      toBody: createToCallbackBody(parts)
    })),
    send: sender.send,
    secrets: ['whsec_service'],
    ...limits,
    now,
    onTried: report => { reports.push(report) }
  })
  const submit = async (
    urls: readonly string[] = ['https://h.example/x'], secret: string | null = null, tenant = submitter.tenant
  ) => {
    const submission = { type: 'report', input: 1 }
    const key = `key-${++tokens}`
    const ids: string[] = []
    for (const url of urls) {
      const callback = { url, host: new URL(url).host, secret }
      ids.push((await parts.submitJob({ ...submitter, tenant }, { ...submission, callback }, key)).jobId)
    }
    return ids[0] ?? ''
  }
  return {
    ...parts,
    ...sender,
    clock,
    now,
    delivery: createDelivery(),
    createDelivery,
    reports,
    submit,
    /** Submits and ends a job. */
    end: async (...args: Parameters<typeof submit>) => {
      const jobId = await submit(...args)
      await parts.cancelJob(jobId, () => true)
      return jobId
    },
    list: async (jobId: string) => (await parts.store.jobs.findWithCallbacks(jobId)).callbacks,
    /** Waits until this many tries have been recorded. */
    tried: (count: number) => until(() => reports.length >= count, `${count} tries`)
  }
}

t.test('delivers what is due, with the state of the job and without its result', async t => {
  const { delivery, end, submit, answers, sent, list, tried } = await openDelivery(t)
  await submit()
  await delivery.runOnce()
  t.same(sent, [], 'not before the end')
  answers(() => delivered)
  const jobId = await end()
  await delivery.runOnce()
  await tried(1)
  const [{ body = '', id = '', url, secrets } = {}] = sent
  const message = JSON.parse(body)
  t.match({ url, secrets }, { url: 'https://h.example/x', secrets: ['whsec_service'] })
  t.match(message, { type: 'job.cancelled', data: { taskId: jobId, status: 'cancelled', isTerminal: true, isSuccess: false } })
  t.equal(message.timestamp, message.data.finishedAt)
  t.notOk('result' in message.data)
  t.match(await list(jobId), [{ id, state: 'delivered', tries: 1, lastStatus: 200, nextTryAt: null }])
  await delivery.runOnce()
  t.equal(sent.length, 1)
})

t.test('a body has each digit of the view, and the event of each end', async t => {
  const { delivery, submit, claimJob, runJob, answers, sent, tried, store, toEntry } = await openDelivery(t)
  answers(() => delivered)
  const run = async (end: (claim: { jobId: string, leaseToken: string }) => Promise<unknown>) => {
    const jobId = await submit()
    const claim = await claimJob({ types: ['report'], tenant: null }, 'w', 1000)
    if (claim === null) throw new Error('nothing to claim')
    await end(claim)
    await delivery.runOnce()
    const { taskBody } = toEntry(await store.jobs.find(jobId))
    return taskBody.slice(taskBody.indexOf('"data":') + 7, -1)
  }
  const bytes = Buffer.from('{"n":1.10}')
  const facts = { contentType: 'application/json', fileName: 'r.json', sizeBytes: bytes.length, sha256: 'x', inlineJson: '{"n":1.10}' }
  const succeeded = await run(claim => runJob.complete(claim, { kind: 'given', facts, bytes }))
  await tried(1)
  t.match(sent[0]?.body, /^\{"type":"job\.succeeded",/)
  t.equal(sent[0]?.body.split('"data":')[1], `${succeeded.replace(',"result":{"n":1.10}', '')}}`)
  const detailsJson = '[12345678901234567890, 1.50]'
  const failed = await run(claim => runJob.fail(claim, { code: 'E', message: 'm', detailsJson }, false))
  await tried(2)
  t.match(sent[1]?.body, /^\{"type":"job\.failed",.*"details":\[12345678901234567890, 1\.50\]/)
  t.equal(sent[1]?.body.split('"data":')[1], `${failed.replace(',"result":null', '')}}`)
})

t.test('a failure is tried again on time, with the same bytes and id, until the last', async t => {
  const { delivery, end, answers, sent, list, tried, clock, sql } = await openDelivery(t)
  clock.stop()
  answers(() => failing(409))
  const jobId = await end()
  for (let count = 1; count <= 13; count++) {
    await delivery.runOnce()
    await tried(count)
    const [callback] = await list(jobId)
    const pause = pauseBeforeNextTry(count, 0.5)
    t.match(callback, { tries: count, lastStatus: 409, lastError: 'answered 409', state: pause === null ? 'failed' : 'pending' })
    if (pause === null) break
    t.equal(callback?.nextTryAt, (callback?.lastTriedAt ?? 0) + pause)
    sql(`UPDATE JobExecutionLog SET type = 'type-${count}'`)
    await delivery.runOnce()
    t.equal(sent.length, count, 'not before its time')
    clock.ahead += pause
  }
  clock.ahead += 1e9
  await delivery.runOnce()
  t.equal(sent.length, 13)
  t.equal(new Set(sent.map(({ body }) => body)).size, 1)
  t.equal(new Set(sent.map(({ id }) => id)).size, 1)
})

t.test('a receiver that is gone is not called again, and one that asks for time gets it', async t => {
  const { delivery, end, answers, list, tried } = await openDelivery(t)
  answers(({ url }) => url.endsWith('gone') ? failing(410, { isFinal: true }) : failing(503, { retryAfterMs: 600_000 }))
  const jobId = await end(['https://h.example/gone', 'https://h.example/busy'])
  await delivery.runOnce()
  await tried(2)
  const [gone, busy] = await list(jobId)
  t.match(gone, { state: 'failed', tries: 1, lastStatus: 410, nextTryAt: null })
  t.equal(busy?.nextTryAt, (busy?.lastTriedAt ?? 0) + 600_000)
})

t.test('a host that hangs delays no other', async t => {
  const { delivery, end, answers, underWay, to, tried, reports } = await openDelivery(t)
  answers(({ url }) => url.includes('quick') ? delivered : undefined)
  for (let count = 0; count < 4; count++) await end(['https://a-slow.example/', 'https://quick.example/'])
  await delivery.runOnce()
  await tried(4)
  t.equal(to('quick'), 4)
  t.equal(to('slow'), 2, 'as many as a host may have')
  t.equal(reports.length, 4)
  underWay[0]?.end(delivered)
  await until(() => to('slow') === 3, 'the next one of the slow host')
  underWay[1]?.end(delivered)
  await until(() => to('slow') === 4, 'the last one of the slow host')
  for (const { end } of underWay) end(delivered)
  await tried(8)
})

t.test('hosts that hang, however many, leave half of the slots to those that answer', async t => {
  const { delivery, end, answers, underWay, to, tried, clock } = await openDelivery(t, { perHostMax: 2, atOnceMax: 16 })
  clock.stop()
  answers(({ url }) => url.includes('quick') ? delivered : undefined)
  for (const host of ['quick', 'turning']) await end([`https://${host}.example/`])
  await delivery.runOnce()
  await tried(1)
  underWay.shift()?.end(delivered)
  await tried(2)

  const hanging = ['a', 'b', 'c', 'd', 'e', 'f'].map(name => `https://${name}-hangs.example/`)
  for (const url of [...hanging, ...hanging]) await end([url])
  await delivery.runOnce()
  t.equal(to('hangs'), 4, 'half of those that slow hosts may have')
  for (let count = 3; count < 12; count++) {
    await end(['https://quick.example/'])
    await delivery.runOnce()
    await tried(count)
  }

  // It was quick before.
  for (let count = 0; count < 3; count++) await end(['https://turning.example/'])
  await delivery.runOnce()
  t.equal(to('turning'), 3, 'two at once')
  clock.ahead = 1001
  underWay[4]?.end(delivered)
  await tried(12)
  await delivery.runOnce()
  t.equal(to('turning'), 3, 'it is one of the slow ones now, and these have their share')

  clock.ahead += 20_000
  for (const ended of [0, 1, 2, 3]) underWay[ended]?.end(failing())
  await until(() => to('hangs') + to('turning') === 7, 'the next of those that hang')
  await end(['https://quick.example/'])
  await delivery.runOnce()
  await until(() => to('quick') === 11, 'the quick one')
})

for (const speed of ['new', 'quick']) {
  t.test(`with all slots taken ${speed} hosts take turns`, async t => {
    const { delivery, end, answers, underWay, to, tried, sent, clock } =
      await openDelivery(t, { perHostMax: 2, atOnceMax: 8 })
    clock.stop()
    const hosts = ['a', 'b', 'c', 'd', 'e', 'f']
    const [perHost, before] = [6, speed === 'quick' ? hosts.length : 0]
    if (speed === 'quick') {
      answers(() => delivered)
      for (const host of hosts) await end([`https://${host}.example/`])
      await delivery.runOnce()
      await tried(before)
      answers(() => undefined)
    }
    for (let count = 0; count < perHost; count++) {
      for (const host of hosts) await end([`https://${host}.example/`])
    }
    await delivery.runOnce()
    t.equal(underWay.length, speed === 'quick' ? 4 : 2, 'half of the share of its tenant while no host has answered')
    for (let ended = 0; ended < perHost * hosts.length; ended++) {
      await until(() => underWay.length > ended, 'the next try')
      t.ok(underWay.length <= ended + 4, 'as many as one tenant may have under way')
      underWay[ended]?.end(delivered)
    }
    await tried(before + perHost * hosts.length)
    for (const host of hosts) t.equal(to(`${host}.example`), perHost + before / hosts.length)
    const order = sent.slice(before).map(({ url }) => new URL(url).host[0] ?? '')
    for (const host of hosts) {
      const othersEnd = order.findLastIndex(other => other !== host)
      t.ok(order.indexOf(host) < othersEnd, `${host} did not wait until the others had no more: ${order.join('')}`)
    }
    if (speed === 'quick') t.equal(new Set(order.slice(0, 2 * hosts.length)).size, hosts.length, order.join(''))
  })
}

for (const event of ['tries of one host end', 'a try and another job end']) {
  t.test(`hosts take turns if ${event} during a claim`, async t => {
    let duringClaim: (() => Promise<void>) | undefined
    const { delivery, end, answers, underWay, tried, sent, reports, clock } =
      await openDelivery(t, { perHostMax: 2, atOnceMax: 8 }, deliver => ({
        ...deliver,
        claim: async (...args) => {
          const happen = duringClaim
          duringClaim = undefined
          await happen?.()
          return await deliver.claim(...args)
        }
      }))
    clock.stop()
    const hosts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
    const urls = hosts.map(host => `https://${host}.example/`)
    answers(() => delivered)
    for (const url of urls) await end([url])
    await delivery.runOnce()
    await tried(hosts.length)
    answers(() => undefined)
    for (let count = 0; count < 2 * hosts.length; count++) for (const url of urls) await end([url])
    await delivery.runOnce()

    const ended = new Set<string>()
    const endTries = async (tries: typeof underWay) => {
      const before = reports.length
      for (const { message, end } of tries) {
        ended.add(message.id)
        end(delivered)
      }
      await tried(before + tries.length)
      // The slots of tries that ended are free in the next turn.
      await new Promise(resolve => { setImmediate(resolve) })
    }
    const running = () => underWay.filter(({ message }) => !ended.has(message.id))
    const order = () => sent.slice(hosts.length).map(({ url }) => url.charAt('https://'.length))
    const [, always] = urls
    while (order().length < 2 * hosts.length) {
      await until(() => running().length === 4, 'as many tries as one tenant may have under way')
      duringClaim = async () => {
        if (event === 'tries of one host end') return await endTries(running().filter(({ message }) => message.url === always))
        await endTries(running().slice(0, 1))
        delivery.wake()
      }
      await endTries(running().filter(({ message }) => message.url !== always).slice(0, 1))
    }
    t.equal(new Set(order().slice(0, 2 * hosts.length)).size, hosts.length, order().join(''))
  })
}

t.test('hosts take turns if more have callbacks than may wait', async t => {
  const { delivery, end, answers, tried, sent, clock } = await openDelivery(t, { perHostMax: 2, atOnceMax: 8 })
  clock.stop()
  const urls = Array.from({ length: 120 }, (_, index) => `https://h${1000 + index}.example/`)
  const endForAll = async () => {
    for (let first = 0; first < urls.length; first += 5) await end(urls.slice(first, first + 5))
  }
  answers(() => {
    delivery.wake()
    return delivered
  })
  // Those that have not answered yet have fewer slots.
  await endForAll()
  await delivery.runOnce()
  await tried(urls.length)
  for (let count = 0; count < 4; count++) await endForAll()
  await delivery.runOnce()
  await tried(5 * urls.length)
  const firsts = urls.map(url => sent.findIndex((message, index) => index >= urls.length && message.url === url))
  const last = Math.max(...firsts) - urls.length
  // Two of each host that may wait, and two more of the half that may wait again, can come before a sweep finds the last.
  t.ok(last < 3 * urls.length, `the last host came after ${last} tries`)
})

t.test('a try that ends while a round ends leaves its slot to the next host', async t => {
  let settled: (() => void) | undefined
  const { delivery, end, answers, to } = await openDelivery(t, { perHostMax: 1, atOnceMax: 2 }, deliver => ({
    ...deliver,
    settle: async (of, outcome) => {
      const recorded = await deliver.settle(of, outcome)
      await new Promise<void>(resolve => { settled = resolve })
      return recorded
    }
  }))
  answers(() => failing(410, { isFinal: true }))
  const settling = async () => await until(() => settled, 'the end of the try')
  let turns = 0
  for (let isBeforeTheEnd = true; isBeforeTheEnd; turns++) {
    await end([`https://first-${turns}.example/`])
    await delivery.runOnce()
    const endFirst = await settling()
    await end([`https://second-${turns}.example/`])
    let hasRoundEnded = false
    const round = delivery.runOnce().finally(() => { hasRoundEnded = true })
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    isBeforeTheEnd = !hasRoundEnded
    settled = undefined
    endFirst()
    await until(() => to(`second-${turns}`) === 1, `the next host, ${turns} turns after the round began`)
    await round
    const endSecond = await settling()
    settled = undefined
    endSecond()
  }
  t.ok(turns > 3, `the round took ${turns} turns`)
})

t.test('whatever one tenant has under way, another one finds slots', async t => {
  const { delivery, end, answers, to, tried } = await openDelivery(t, { perHostMax: 2, atOnceMax: 16 })
  answers(() => delivered)
  for (const host of ['a', 'b', 'c', 'd', 'e']) await end([`https://${host}-quick.example/`])
  await delivery.runOnce()
  await tried(5)
  answers(() => undefined)
  for (let count = 0; count < 4; count++) {
    for (const host of ['a', 'b', 'c', 'd', 'e', 'f']) {
      await end([`https://${host}-hangs.example/`])
      await end([`https://${host}-quick.example/hangs-now`])
    }
  }
  await delivery.runOnce()
  t.equal(to('hangs.example'), 4, 'a half of what slow hosts may have')
  t.equal(to('hangs'), 8, 'a half of all')
  for (const [tenant, slots] of [['second', 2], ['third', 1]] as const) {
    for (let count = 0; count < 4; count++) {
      for (const host of ['a', 'b', 'c']) await end([`https://${host}-${tenant}.example/`], null, tenant)
    }
    await delivery.runOnce()
    t.equal(to(`${tenant}.example`), slots, tenant)
  }
})

t.test('two tenants with callbacks to one host take turns', async t => {
  const { delivery, end, underWay, tried, sent } = await openDelivery(t, { perHostMax: 1, atOnceMax: 16 })
  for (let count = 0; count < 6; count++) await end(['https://shared.example/first'])
  for (let count = 0; count < 3; count++) await end(['https://shared.example/second'], null, 'other')
  await delivery.runOnce()
  for (let ended = 0; ended < 9; ended++) {
    await until(() => underWay.length > ended, 'the next try')
    underWay[ended]?.end(delivered)
  }
  await tried(9)
  const order = sent.map(({ url }) => url.split('/').at(-1))
  t.ok(order.lastIndexOf('second') < 7, `neither waited for all of the other: ${order.join()}`)
})

t.test('a try whose process was killed is made by another, once its lease is over', async t => {
  const { delivery, createDelivery, end, sent, answers, list, tried, clock } = await openDelivery(t)
  clock.stop()
  const jobId = await end()
  await delivery.runOnce()
  t.equal(sent.length, 1)
  const other = createDelivery()
  clock.ahead += leaseMs - 1000
  await other.runOnce()
  t.equal(sent.length, 1)
  clock.ahead += 1000
  answers(() => delivered)
  await other.runOnce()
  await tried(1)
  t.equal(sent[1]?.body, sent[0]?.body)
  t.match(await list(jobId), [{ state: 'delivered', tries: 1 }])
})

t.test('the end of a job of this process wakes it, and so does a late URL', async t => {
  const { delivery, submit, answers, cancelJob, tried, submitJob, reports } = await openDelivery(t)
  answers(() => delivered)
  const jobId = await submit()
  await cancelJob(jobId, () => true)
  delivery.wake()
  await tried(1)
  const callback = { url: 'https://late.example/', host: 'late.example', secret: 'whsec_own' }
  const first = await submitJob(submitter, { type: 'x', input: 1 }, 'late')
  await cancelJob(first.jobId, () => true)
  const again = await submitJob(submitter, { type: 'x', input: 1, callback }, 'late')
  t.match(again, { jobId: first.jobId, replayed: true })
  delivery.wake()
  await tried(2)
  t.match(reports[1], { of: { url: 'https://late.example/', secret: 'whsec_own' } })
})

t.test('a job that another program deletes or gives away is gone for its submitter', async t => {
  const { delivery, submit, answers, sent, tried, sql, list, count } = await openDelivery(t)
  answers(() => delivered)
  const deleted = await submit(['https://h.example/deleted'])
  sql(`DELETE FROM JobExecutionLog WHERE jobId = '${deleted}'`)
  await delivery.runOnce()
  await tried(1)
  const { type, timestamp, data } = JSON.parse(sent[0]?.body ?? '')
  t.same({ type, data }, { type: 'job.gone', data: { taskId: deleted } })
  t.equal(new Date(timestamp).toISOString(), timestamp)
  t.equal(count('JobCallback'), 0)
  const given = await submit(['https://h.example/given'])
  sql(`UPDATE JobExecutionLog SET tenant = 'other', status = 'Succeeded' WHERE jobId = '${given}'`)
  await delivery.runOnce()
  await tried(2)
  t.match(JSON.parse(sent[1]?.body ?? ''), { type: 'job.gone', data: { taskId: given } })
  t.match(await list(given), [{ state: 'delivered' }])
})

t.test('erasing a job drops its deliveries, the one under way too', async t => {
  const { delivery, end, eraseJob, underWay, tried, reports, count, sent, clock } = await openDelivery(t)
  const jobId = await end()
  await delivery.runOnce()
  t.equal(underWay.length, 1)
  await eraseJob(jobId, () => true)
  t.equal(count('JobCallback'), 0)
  underWay[0]?.end(failing())
  await tried(1)
  t.equal(reports[0]?.settled, undefined)
  clock.ahead += 1e9
  await delivery.runOnce()
  t.equal(sent.length, 1)
})

t.test('a drain lets tries end, and gives back those that do not', async t => {
  const { delivery, createDelivery, end, underWay, answers, list, reports, sent, tried } = await openDelivery(t)
  const [quick, slow] = [await end(['https://quick.example/']), await end(['https://slow.example/'])]
  await delivery.runOnce()
  t.equal(underWay.length, 2)
  underWay.find(({ message }) => message.url.includes('quick'))?.end(delivered)
  await delivery.stop(50)
  t.match(await list(quick), [{ state: 'delivered', tries: 1 }])
  const [givenBack] = await list(slow)
  t.match(givenBack, { state: 'pending', tries: 0, lastTriedAt: null })
  t.equal(reports.length, 1)
  delivery.wake()
  answers(() => delivered)
  const other = createDelivery()
  await other.runOnce()
  await tried(2)
  t.equal(sent.length, 3, 'the stopped one has begun none')
})

t.test('while the store is away nothing is sent twice, and nothing is lost', async t => {
  const outage = { isOn: false, failures: 0 }
  const away = async () => {
    if (!outage.isOn) return
    outage.failures++
    throw new ServiceFailure('STORE_UNAVAILABLE', 'away')
  }
  const { delivery, end, underWay, tried, sent, list, answers } = await openDelivery(t, undefined, deliver => ({
    ...deliver,
    claim: async (...args) => { await away(); return await deliver.claim(...args) },
    settle: async (...args) => { await away(); return await deliver.settle(...args) }
  }))
  const jobId = await end()
  await delivery.runOnce()
  outage.isOn = true
  underWay[0]?.end(delivered)
  await until(() => outage.failures > 1, 'failed records of the outcome')
  await end(['https://other.example/'])
  await t.rejects(delivery.runOnce(), { code: 'STORE_UNAVAILABLE' })
  delivery.wake()
  outage.isOn = false
  answers(() => delivered)
  await delivery.runOnce()
  await tried(2)
  t.equal(sent.length, 2)
  t.match(await list(jobId), [{ state: 'delivered', tries: 1 }])
})

t.test('one more try, at most once a minute', async t => {
  const parts = await openDelivery(t)
  const { delivery, submit, end, answers, list, tried, clock, now, sent, commit } = parts
  clock.stop()
  let wakes = 0
  const redeliver = createRedeliverCallback({ commit, now, onDue: () => { wakes++ } })
  const mine = (tenant: string | null) => tenant === 'acme'
  const waiting = await submit()
  const idOf = async (jobId: string) => (await list(jobId))[0]?.id ?? ''
  t.match(await redeliver(waiting, await idOf(waiting), mine), { outcome: { kind: 'waiting' }, entry: { jobId: waiting } })
  answers(() => failing())
  const jobId = await end()
  const id = await idOf(jobId)
  await delivery.runOnce()
  await tried(1)
  t.match(await redeliver(jobId, 'cb_other', mine), { outcome: { kind: 'absent' } })
  t.match(await redeliver(waiting, id, mine), { outcome: { kind: 'absent' } })
  t.match(await redeliver(jobId, id, () => false), { outcome: { kind: 'absent' } })
  t.equal(wakes, 0)
  t.match(await redeliver(jobId, id, mine), { outcome: { kind: 'asked' }, entry: { jobId, state: 'cancelled' } })
  t.equal(wakes, 1)
  await delivery.runOnce()
  await tried(2)
  t.match(await list(jobId), [{ state: 'pending', tries: 2 }], 'it counts as the next one')
  clock.ahead += 30_000
  t.match(await redeliver(jobId, id, mine), { outcome: { kind: 'too-soon', retryAfterMs: 30_000 } })
  clock.ahead += 30_000
  answers(() => delivered)
  await redeliver(jobId, id, mine)
  await delivery.runOnce()
  await tried(3)
  answers(() => failing())
  clock.ahead += 60_000
  t.match(await redeliver(jobId, id, mine), { outcome: { kind: 'asked' } })
  await delivery.runOnce()
  await tried(4)
  t.match(await list(jobId), [{ state: 'delivered', tries: 4, lastStatus: 500, nextTryAt: null }])
  t.equal(sent.length, 4)
  t.match(await redeliver('never-made', id, mine), { outcome: { kind: 'absent' }, entry: { state: 'absent' } })
})

t.test('a repeated submission adds another URL, of bounded number', async t => {
  const { submitJob, list, clock } = await openDelivery(t)
  const at = (path: string) => ({ url: `https://h.example/${path}`, host: 'h.example', secret: null })
  const submit = (path?: string) =>
    submitJob(submitter, { type: 'x', input: { n: 1 }, ...(path === undefined ? {} : { callback: at(path) }) }, 'key')
  const { jobId, replayed } = await submit('1')
  t.notOk(replayed)
  for (const path of [undefined, '1', '2', '3', '4', '5']) {
    // They are listed by the ms in which they were added.
    clock.ahead++
    t.match(await submit(path), { jobId, replayed: true })
  }
  t.match((await list(jobId)).map(({ url }) => url), ['1', '2', '3', '4', '5'].map(path => at(path).url))
  await t.rejects(submit('6'), { code: 'VALIDATION_FAILED', message: /callbackUrl is one too many: a job has at most 5/ })
  t.equal((await list(jobId)).length, 5)
})
