import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startBalancer } from '../helpers/balancer.ts'
import { hasLogged } from '../helpers/log-lines.ts'
import { startPostgres } from '../helpers/postgres.ts'
import { freePort, startRedis } from '../helpers/redis.ts'
import { isMigrationOff } from '../../src/serve/shared-port.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { bearer } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

/*
 * Three processes on one Postgres and one Redis, behind a balancer, are drained and started again one after the other,
 * while clients read, wait, submit and work. Then one of two processes on SQLite that listen on one port is drained.
 *
 * ROLLING_RATE changes how many reads are sent in a second, ROLLING_ROUNDS how often each process is started again.
 */

const rate = Number(process.env.ROLLING_RATE ?? '200')
const rounds = Number(process.env.ROLLING_ROUNDS ?? '1')
const processes = 3
const jobsMax = 50

type Answer = { status: number, headers: Record<string, string | string[] | undefined>, text: string }
type Send = (path: string, options?: { method?: string, headers?: Record<string, string>, body?: unknown }) => Promise<Answer>

/**
 * Sends requests on connections that are kept, or on one each; the failures are those without a response. `repeatsResets`:
 * a request on a new connection that is reset is sent again.
 */
const createSend = (url: string, { isKept = true, repeatsResets = false } = {}): Send => {
  const agent = new Agent({ keepAlive: isKept })
  const { hostname, port } = new URL(url)
  const { authorization } = bearer({ expiresIn: 3_600_000, scope: 'jobs:read jobs:write jobs:work' })
  const send: Send = (path, { method = 'GET', headers = {}, body } = {}) => new Promise(resolve => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const type = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
    const sent = request({ agent, hostname, port, path, method, headers: { authorization, ...type, ...headers } }, answer => {
      const pieces: Buffer[] = []
      answer.on('data', (piece: Buffer) => { pieces.push(piece) })
      answer.on('close', () => {
        resolve({
          status: answer.complete ? answer.statusCode ?? 0 : 0, headers: answer.headers, text: Buffer.concat(pieces).toString()
        })
      })
    })
    sent.on('error', (error: NodeJS.ErrnoException) => {
      if (repeatsResets && !sent.reusedSocket && error.code === 'ECONNRESET') {
        send(path, { method, headers, body }).then(resolve, () => {})
      } else {
        resolve({ status: 0, headers: {}, text: error.message })
      }
    })
    sent.end(text)
  })
  return send
}

type Traffic = {
  send: Send
  failures: string[]
  /** The jobs that were accepted, and those whose end was. */
  accepted: string[]
  completed: Set<string>
  isOver: () => boolean
  /** Whether no job is accepted any more. */
  isAllAccepted: () => boolean
}

const expectOneOf = ({ failures }: Traffic, what: string, answer: Answer, ...expected: number[]): boolean => {
  const isExpected = expected.includes(answer.status)
  if (!isExpected) failures.push(`${what}: ${answer.status} ${answer.text.slice(0, 200)}`)
  return isExpected
}

/** Reads at an even rate, in both views, with and without a tag, one job and many. Returns how many were answered. */
const read = async (traffic: Traffic): Promise<number> => {
  const { send, accepted, isOver } = traffic
  const tags = new Map<string, string>()
  const underWay = new Set<Promise<void>>()
  let answered = 0
  const readOne = async (turn: number): Promise<void> => {
    const some = accepted.slice(-jobsMax)
    const jobId = some[turn % some.length] ?? ''
    const path = [`/api/v1/jobs/${jobId}`, `/api/jobs/${jobId}/status`, `/api/v1/jobs?ids=${some.slice(0, 10).join()}`][turn % 3]
    const tag = turn % 3 === 2 || turn % 2 === 0 ? undefined : tags.get(path ?? '')
    const answer = await send(path ?? '', { headers: tag === undefined ? {} : { 'if-none-match': tag } })
    if (expectOneOf(traffic, `read ${path}`, answer, 200, ...tag === undefined ? [] : [304])) answered++
    if (typeof answer.headers.etag === 'string') tags.set(path ?? '', answer.headers.etag)
  }
  const beganAt = performance.now()
  for (let turn = 0; !isOver();) {
    const due = (performance.now() - beganAt) * rate / 1000
    for (; turn < due; turn++) {
      const reading: Promise<void> = readOne(turn).finally(() => { underWay.delete(reading) })
      underWay.add(reading)
    }
    await delay(2)
  }
  await Promise.all(underWay)
  return answered
}

const submit = async (traffic: Traffic): Promise<void> => {
  const { send, accepted, isOver } = traffic
  while (!isOver()) {
    const answer = await send('/api/v1/jobs', { method: 'POST', body: { type: 'remote', input: {} } })
    if (expectOneOf(traffic, 'submit', answer, 202)) accepted.push((JSON.parse(answer.text) as { jobId: string }).jobId)
    await delay(20)
  }
}

const work = async (traffic: Traffic): Promise<void> => {
  const { send, accepted, completed, isOver, isAllAccepted } = traffic
  while (!isAllAccepted() || completed.size < accepted.length) {
    const answer = await send('/api/v1/worker/claim', { method: 'POST', body: { types: ['remote'], wait: 1 } })
    if (!expectOneOf(traffic, 'claim', answer, 200, 204) && isOver()) return
    if (answer.status !== 200) continue
    const { jobId, leaseToken } = JSON.parse(answer.text) as { jobId: string, leaseToken: string }
    const report = (command: string, body: unknown) => send(`/api/v1/worker/jobs/${jobId}/${command}`, {
      method: 'POST', headers: { 'lease-token': leaseToken }, body
    })
    expectOneOf(traffic, 'progress', await report('progress', { percent: 50 }), 200)
    if (expectOneOf(traffic, 'complete', await report('complete', { result: jobId }), 200)) {
      if (completed.has(jobId)) traffic.failures.push(`${jobId} was completed twice`)
      completed.add(jobId)
    }
  }
}

/** Waits for the newest job again and again, by long polls, and then for its stream of events and its result. */
const follow = async (traffic: Traffic): Promise<void> => {
  const { send, accepted, isOver } = traffic
  while (!isOver()) {
    const jobId = accepted.at(-1) ?? ''
    for (let isDone = false; !isDone;) {
      const answer = await send(`/api/v1/jobs/${jobId}?wait=10`)
      if (!expectOneOf(traffic, 'wait', answer, 200)) break
      isDone = answer.text.includes('"Succeeded"')
    }
    const events = await send(`/api/v1/jobs/${jobId}/events`)
    if (expectOneOf(traffic, 'events', events, 200)) {
      // A process that drains ends the stream after the state of the moment.
      if (!events.text.includes('"Succeeded"')) traffic.failures.push(`events: ${events.text}`)
    }
    const result = await send(`/api/v1/jobs/${jobId}/result`)
    if (expectOneOf(traffic, 'result', result, 200) && result.text !== JSON.stringify(jobId)) {
      traffic.failures.push(`result of ${jobId}: ${result.text}`)
    }
  }
}

/** Starts to submit and to work, and to read what was submitted. `finish` resolves to the number of reads answered. */
const startTraffic = async (send: Send) => {
  let [isOver, isAllAccepted] = [false, false]
  const traffic: Traffic = {
    send, failures: [], accepted: [], completed: new Set(), isOver: () => isOver, isAllAccepted: () => isAllAccepted
  }
  const submitting = submit(traffic).finally(() => { isAllAccepted = true })
  const writing = Promise.all([submitting, ...[0, 1].map(() => work(traffic))])
  await until(() => traffic.accepted.length > 0, 'a job')
  const reading = read(traffic)
  const following = follow(traffic)
  return {
    traffic,
    finish: async () => {
      isOver = true
      const answered = await reading
      await Promise.all([writing, following])
      return answered
    }
  }
}

t.test('a rolling restart behind a balancer fails no request, and loses no job', async t => {
  const postgres = await startPostgres(t)
  const redis = await startRedis(t)
  const env = {
    DATABASE_URL: await postgres.createDatabase(t), REDIS_URL: redis.url, WORKERS: '0', DRAIN_DELAY_SECONDS: '2', LOG_LEVEL: 'info'
  }
  const ports = await Promise.all(Array.from({ length: processes }, () => freePort()))
  const start = (port: number) => spawnService(t, { ...env, PORT: String(port) })
  const services = await Promise.all(ports.map(start))
  const { url, ready } = await startBalancer(t, ports)
  await until(() => ready() === processes, 'all processes to be ready')
  const { traffic, finish } = await startTraffic(createSend(url))
  const beganAt = performance.now()
  for (let round = 0; round < rounds; round++) {
    for (const [index, port] of ports.entries()) {
      t.equal((await services[index]?.kill('SIGTERM'))?.code, 0, 'drained')
      services[index] = await start(port)
      await until(() => ready() === processes, 'the process to be ready again')
    }
  }
  const seconds = (performance.now() - beganAt) / 1000
  const answered = await finish()
  const { failures, accepted, completed } = traffic
  t.same(failures.slice(0, 10), [])
  t.comment(`${answered} reads (${Math.round(answered / seconds)}/s), ${accepted.length} jobs, ${failures.length} failures`)
  // On a machine without other work nearly all; this only shows that they were sent all the time.
  t.ok(answered > rate * seconds / 2, 'reads at the rate that was asked for')
  t.ok(completed.size > 0)
  t.same([...completed].toSorted(), accepted.toSorted(), 'each accepted job was run, once')
  const { rows } = await postgres.sql(
    "SELECT count(*)::int AS count FROM JobExecutionLog WHERE status = 'Succeeded'", new URL(env.DATABASE_URL).pathname.slice(1))
  t.equal((rows as Array<{ count: number }>)[0]?.count, accepted.length)
})

t.test('of two processes on one port both answer, and no request fails while one of them drains', async t => {
  const redis = await startRedis(t)
  const env = {
    REDIS_URL: redis.url,
    WORKERS: '0',
    DRAIN_DELAY_SECONDS: '1',
    LOG_LEVEL: 'info',
    PORT: String(await freePort()),
    REUSE_PORT: 'true'
  }
  const leaving = await spawnService(t, env)
  const staying = await spawnService(t, env, leaving.databasePath)
  t.equal(staying.url, leaving.url)
  await hasLogged(staying, '"msg":"ready"')
  t.equal(staying.lines.some(line => line.includes('tcp_migrate_req')), isMigrationOff())
  const hasAccepted = ({ lines }: SpawnedService) => lines.some(line => line.includes('"msg":"submitted"'))
  const alone = createSend(leaving.url, { isKept: false })
  await until(async () => {
    await alone('/api/v1/jobs', { method: 'POST', body: { type: 'other', input: {} } })
    return hasAccepted(leaving) && hasAccepted(staying)
  }, 'both to accept a job')
  // Most kernels reset connections that the process has not accepted when it stops listening.
  const { traffic, finish } = await startTraffic(createSend(leaving.url, { repeatsResets: true }))
  t.equal((await leaving.kill('SIGTERM')).code, 0, 'drained')
  const { accepted, completed, failures } = traffic
  const before = accepted.length
  await until(() => accepted.length > before + 10, 'the other one to go on')
  const answered = await finish()
  t.same(failures.slice(0, 10), [])
  t.ok(answered > 0)
  t.same([...completed].toSorted(), accepted.toSorted(), 'each accepted job was run, once')
})
