import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { waitingBudgets as budgets } from '../../budgets.ts'
import { sign } from '../../requests.ts'
import { startService } from '../service.ts'
import { printFigures, quantile, toShares } from './figures.ts'

/*
 * 1,000 callbacks to quick receivers, first alone, then with as many to a slow one. Their jobs end evenly within ten
 * seconds, and then all at once. Measures how long after the end of its job a quick receiver is called.
 *
 * CALLBACKS changes their number.
 */

const callbacks = Number(process.env.CALLBACKS ?? '1000')
const quickReceivers = 10
const slowMs = 10_000
const endingMs = 10_000
const atOnce = 50
const roundMs = 10

const calledAt = new Map<string, number>()

const startReceiver = async (answerMs: number) => {
  const server = createServer((request, response) => {
    void text(request).then(body => {
      const { data: { taskId } } = JSON.parse(body) as { data: { taskId: string } }
      if (!calledAt.has(taskId)) calledAt.set(taskId, performance.now())
      if (answerMs === 0) response.end()
      else setTimeout(() => { response.end() }, answerMs)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () => {
      server.closeAllConnections()
      server.close()
    }
  }
}

const service = await startService({ CALLBACK_HOSTS_ALLOWED: '127.0.0.1' })
const receivers = await Promise.all(Array.from({ length: quickReceivers }, () => startReceiver(0)))
const slowReceiver = await startReceiver(slowMs)

const post = async (path: string, body?: unknown): Promise<{ jobId: string }> => {
  const response = await fetch(service.url + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${sign()}`, ...body === undefined ? {} : { 'content-type': 'application/json' }
    },
    ...body === undefined ? {} : { body: JSON.stringify(body) }
  })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return await response.json() as { jobId: string }
}

const submitAll = async (urls: readonly string[]): Promise<string[]> => {
  const jobIds: string[] = []
  for (let at = 0; at < urls.length; at += atOnce) {
    const some = await Promise.all(urls.slice(at, at + atOnce).map(callbackUrl =>
      post('/api/v1/jobs', { type: 'bench', input: null, callbackUrl })))
    jobIds.push(...some.map(({ jobId }) => jobId))
  }
  return jobIds
}

/** Ends jobs that call quick receivers, and as many that call the slow one. Returns how late the first were called. */
const measure = async (isSlowToo: boolean, ms: number): Promise<number[]> => {
  const toQuick = Array.from({ length: callbacks }, (_, index) => receivers[index % quickReceivers]?.url ?? '')
  const quick = await submitAll(toQuick)
  const slow = await submitAll(isSlowToo ? toQuick.map(() => slowReceiver.url) : [])
  const jobIds = quick.flatMap((jobId, index) => [jobId, ...slow.slice(index, index + 1)])
  const endedAt = new Map<string, number>()
  const ends: Promise<unknown>[] = []
  const began = performance.now()
  while (ends.length < jobIds.length) {
    const share = ms === 0 ? 1 : (performance.now() - began) / ms
    while (ends.length < Math.min(1, share) * jobIds.length) {
      const jobId = jobIds[ends.length] ?? ''
      endedAt.set(jobId, performance.now())
      ends.push(post(`/api/v1/jobs/${jobId}/cancel`))
    }
    await delay(roundMs)
  }
  await Promise.all(ends)
  const until = performance.now() + 30_000
  while (quick.some(jobId => !calledAt.has(jobId)) && performance.now() < until) await delay(roundMs)
  return quick.map(jobId => (calledAt.get(jobId) ?? Infinity) - (endedAt.get(jobId) ?? 0))
}

try {
  const alone = await measure(false, endingMs)
  const before = service.usage()
  const beside = await measure(true, endingMs)
  const { waited } = toShares(before, service.usage())
  const atOnce = await measure(true, 0)
  printFigures(`${callbacks} callbacks to quick receivers, ${callbacks} to one that takes ${slowMs / 1000} s`, [
    { what: 'called after, without the slow ones, P50 (ms)', value: quantile(alone, 0.5), digits: 1 },
    { what: 'called after, without the slow ones, P99 (ms)', value: quantile(alone, 0.99), digits: 1 },
    { what: 'called after, P50 (ms)', value: quantile(beside, 0.5), digits: 1 },
    { what: 'called after, P99 (ms)', value: quantile(beside, 0.99), digits: 1, max: budgets.callbackMs, isTime: true },
    { what: 'called after, all jobs end at once, P50 (ms)', value: quantile(atOnce, 0.5), digits: 1 },
    { what: 'called after, all jobs end at once, P99 (ms)', value: quantile(atOnce, 0.99), digits: 1 }
  ], waited)
} finally {
  for (const { close } of [...receivers, slowReceiver]) close()
  await service.stop()
}
