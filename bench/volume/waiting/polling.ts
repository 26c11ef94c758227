import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { waitingBudgets as budgets } from '../../budgets.ts'
import { ensurePeers } from '../../peers.ts'
import { secret } from '../../requests.ts'
import { type RedisServer, startRedis } from '../../servers.ts'
import { databasePath, startProcess, startService, type Usage } from '../service.ts'
import { openClient, toGet } from './clients.ts'
import { printFigures } from './figures.ts'
import { writeRunningRows } from './running-rows.ts'

/*
 * What a job of 30 s costs its server until its client knows how it ended: if the client waits for the end, if it polls
 * each second and gets 304, and if it polls BullMQ's getState() each second, behind Fastify and a token check. Nothing
 * is scaled: the jobs take 30 s. All are measured at the same time, each on a server of its own, so that other work of
 * the machine affects them alike. The CPU is that of the web server's process; Redis is not counted.
 *
 * Those that poll are fewer, since one process of BullMQ serves no 10,000 polls a second: that changes nothing in the
 * cost of a poll. A client that waits costs a share of what the process does while nothing happens, which is the
 * smaller the more clients wait; so the same number waits, too, for comparison. JOBS, WAITERS and SECONDS change the
 * numbers.
 */

const { JOBS = '1000', WAITERS = '10000', SECONDS = '30' } = process.env
const [jobs, waiters, seconds] = [Number(JOBS), Number(WAITERS), Number(SECONDS)]
const pollMs = 1000
// Jobs begin, end and are polled at this rate, so that all of those that poll do within a second.
const perMs = Math.max(1, jobs / 1000, waiters / 5000)

type Server = { url: string, usage: () => Usage }

/** What one job costs. */
type Cost = { requests: number, cpuMs: number }

/** Counts the responses that begin in this text: a client that polls may get two at once. Throws for a failure. */
const countResponses = (text: string): number => {
  const statuses = Array.from(text.matchAll(/(?:^|})HTTP\/1\.1 (\d+)/gm), ([, status]) => status)
  // An overloaded server says nothing about the cost of a response.
  if (statuses.some(status => status !== '200' && status !== '304')) throw new Error(`unexpected response: ${text}`)
  return statuses.length
}

/** Clients that connect with their first request, as the service closes a connection that sends none. */
const createClients = ({ url }: Server, onBytes: (client: number, bytes: Buffer) => void) => {
  const sockets = new Map<number, Promise<Socket>>()
  let requests = 0
  return {
    send: async (client: number, request: Buffer): Promise<void> => {
      requests += 1
      const opened = sockets.get(client) ?? openClient(url, bytes => { onBytes(client, bytes) })
      sockets.set(client, opened)
      ;(await opened).write(request)
    },
    requests: () => requests,
    close: async (): Promise<void> => { for (const opened of sockets.values()) (await opened).destroy() }
  }
}

const pathOf = (name: string): string => `${databasePath}.${name}`

/** Calls back with the jobs that are due to begin, or to end: [from, to). Resolves once all were. */
const spread = async (count: number, each: (from: number, to: number) => void): Promise<void> => {
  const began = performance.now()
  for (let done = 0; done < count;) {
    const due = Math.min(count, Math.floor((performance.now() - began) * perMs))
    if (due > done) each(done, due)
    done = due
    await delay(5)
  }
}

const toCost = (before: Usage, after: Usage, requests: number, count: number): Cost =>
  ({ requests: requests / count, cpuMs: (after.cpuSeconds - before.cpuSeconds) * 1000 / count })

/** A server and its clients, which are ready to begin. */
type Ready = { measure: () => Promise<Cost>, stop: (options: { isKept: boolean }) => Promise<void> }

const prepareService = async (redis: RedisServer, name: string, count: number) => {
  const service = await startService({
    REDIS_URL: redis.url, WAITERS_MAX: String(2 * waiters), DATABASE_URL: `sqlite:${pathOf(name)}`
  })
  const rows = writeRunningRows(pathOf(name), name, count)
  const stop: Ready['stop'] = async options => {
    rows.close()
    await service.stop(options)
  }
  return { service, endSome: rows.endSome, stop }
}

const prepareWaiting = async (redis: RedisServer, name: string, count: number): Promise<Ready> => {
  const { service, endSome, stop } = await prepareService(redis, name, count)
  let answered = 0
  const clients = createClients(service, (_client, bytes) => {
    answered += countResponses(bytes.toString('latin1'))
  })
  const measure = async (): Promise<Cost> => {
    const before = service.usage()
    const ended = delay(seconds * 1000).then(() => spread(count, endSome))
    await spread(count, (from, to) => {
      for (let client = from; client < to; client += 1) {
        void clients.send(client, toGet(service.url, `/api/v1/jobs/${name}-${client}?wait=55`))
      }
    })
    await ended
    while (answered < count) await delay(10)
    const cost = toCost(before, service.usage(), clients.requests(), count)
    await clients.close()
    return cost
  }
  return { measure, stop }
}

type Polled = {
  toRequest: (client: number, eTag: string | undefined) => Buffer
  /** Ends the jobs, where the clients are to hear of it. */
  endSome: (from: number, to: number) => void
}

const eTagExpression = /^etag: (.+)\r$/m

const createPolling = (server: Server, { toRequest, endSome }: Polled): Ready['measure'] => {
  const eTags = new Map<number, string>()
  let answered = 0
  const clients = createClients(server, (client, bytes) => {
    const text = bytes.toString('latin1')
    answered += countResponses(text)
    const eTag = eTagExpression.exec(text)?.[1]
    if (eTag !== undefined) eTags.set(client, eTag)
  })
  return async () => {
    const before = server.usage()
    const began = performance.now()
    const ended = delay(seconds * 1000).then(() => spread(jobs, endSome))
    // The last poll comes after the end.
    for (let poll = 1; poll <= seconds + 1; poll += 1) {
      await delay(Math.max(0, began + poll * pollMs - performance.now()))
      await spread(jobs, (from, to) => {
        for (let client = from; client < to; client += 1) {
          void clients.send(client, toRequest(client, eTags.get(client)))
        }
      })
    }
    await ended
    while (answered < clients.requests()) await delay(10)
    const cost = toCost(before, server.usage(), clients.requests(), jobs)
    await clients.close()
    return cost
  }
}

const preparePolled = async (redis: RedisServer): Promise<Ready> => {
  const { service, endSome, stop } = await prepareService(redis, 'polled', jobs)
  const toRequest = (client: number, eTag: string | undefined) => toGet(
    service.url, `/api/v1/jobs/polled-${client}`, eTag === undefined ? {} : { 'if-none-match': eTag })
  return { measure: createPolling(service, { toRequest, endSome }), stop }
}

const prepareBullmq = async (redis: RedisServer): Promise<Ready> => {
  const reason = await ensurePeers()
  if (reason !== null) throw new Error(reason)
  const server = await startProcess('bench/peers/bullmq.ts', {
    JOBS: String(jobs), REDIS_URL: redis.url, JWT_SECRET: secret, PORT: '0', NODE_ENV: 'production'
  })
  const toRequest = (client: number) => toGet(server.url, `/job-${client}`)
  return { measure: createPolling(server, { toRequest, endSome: () => {} }), stop: server.end }
}

const redis = await startRedis()
const all = await Promise.all([
  prepareBullmq(redis), preparePolled(redis), prepareWaiting(redis, 'few', jobs), prepareWaiting(redis, 'many', waiters)
])
try {
  const [bullmq, polled, few, many] = await Promise.all(all.map(({ measure }) => measure())) as [Cost, Cost, Cost, Cost]
  const toFigures = (how: string, { requests, cpuMs }: Cost) => [
    { what: `${how}: requests`, value: requests, digits: 1 }, { what: `${how}: CPU (ms)`, value: cpuMs, digits: 2 }
  ]
  printFigures(`a job of ${seconds} s`, [
    { what: `${waiters} wait: requests`, value: many.requests, max: budgets.requestsPerJob },
    { what: `${waiters} wait: CPU (ms)`, value: many.cpuMs, digits: 2 },
    ...toFigures(`${jobs} wait`, few),
    ...toFigures(`${jobs} poll with 304`, polled),
    ...toFigures(`${jobs} poll BullMQ`, bullmq),
    {
      what: `CPU where ${waiters} wait, to BullMQ`,
      value: many.cpuMs / bullmq.cpuMs,
      digits: 3,
      max: budgets.cpuToBullmq
    },
    { what: `CPU where ${jobs} wait, to BullMQ`, value: few.cpuMs / bullmq.cpuMs, digits: 3 },
    { what: `CPU where ${waiters} wait, to polling with 304`, value: many.cpuMs / polled.cpuMs, digits: 3 }
  ])
} finally {
  // All databases are in one folder.
  for (const [index, { stop }] of all.entries()) await stop({ isKept: index < all.length - 1 })
  await redis.stop()
}
