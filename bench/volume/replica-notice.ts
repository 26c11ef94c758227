import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { sign } from '../requests.ts'
import { type Connection, openConnection } from './connection.ts'
import { startMachine } from './replicas.ts'
import { printTable } from './service.ts'

/*
 * How soon a client that waits at one replica hears of a commit elsewhere, on Postgres. 200 clients follow a job each,
 * on streams of events at the first replica. Workers report progress at the second one, 100 times a second; then
 * another program updates the records, as often. A time counts from before the request or the statement that makes the
 * change, so it includes the commit. P99 must be at most 100 ms.
 */

const clients = 200
const changesPerSecond = 100
const seconds = 10
const warmUpSeconds = 2
const p99MsMax = 100

type Claimed = { jobId: string, leaseToken: string }

const authorization = `Bearer ${sign()}`
const changedAt = new Map<string, number>()
const times: number[] = []

const sockets = new Set<Socket>()
let reopened = 0

/** Follows a job until `sockets` is cleared. A stream that ends is opened again, as an EventSource does. */
const follow = (url: string, jobId: string): Promise<void> => new Promise((resolve, reject) => {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  sockets.add(socket)
  socket.write(`GET /api/v1/jobs/${jobId}/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n` +
    `authorization: ${authorization}\r\n\r\n`)
  socket.once('error', reject)
  socket.once('close', () => {
    if (!sockets.delete(socket)) return
    reopened++
    void follow(url, jobId)
  })
  socket.on('data', bytes => {
    resolve()
    const at = changedAt.get(jobId)
    if (at === undefined || !bytes.includes('id: ')) return
    times.push(performance.now() - at)
    changedAt.delete(jobId)
  })
})

const claimAll = async (connection: Connection): Promise<Claimed[]> => {
  const claimed: Claimed[] = []
  while (claimed.length < clients) {
    await connection.post('/api/v1/jobs', { type: 'bench', input: null })
    const { body } = await connection.post('/api/v1/worker/claim', { types: ['bench'], leaseSeconds: 3600 })
    claimed.push(JSON.parse(body) as Claimed)
  }
  return claimed
}

type Change = (job: Claimed, n: number) => Promise<unknown>

// A change that says what the record says already is none, so no number is used twice.
let changes = 0

/** Makes changes at the rate, each of a job of which the last one was noticed. */
const changeFor = async (forSeconds: number, jobs: readonly Claimed[], change: Change) => {
  const began = performance.now()
  const underWay: Array<Promise<unknown>> = []
  for (let made = 0, skipped = 0; performance.now() < began + forSeconds * 1000; await delay(1)) {
    for (const due = (performance.now() - began) * changesPerSecond / 1000; made < due; made++) {
      const job = jobs[(made + skipped) % jobs.length]
      if (job === undefined) continue
      if (changedAt.has(job.jobId)) {
        skipped++
        continue
      }
      changedAt.set(job.jobId, performance.now())
      underWay.push(change(job, changes++))
    }
  }
  await Promise.all(underWay)
  for (const end = performance.now() + 5000; changedAt.size > 0 && performance.now() < end;) await delay(10)
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN

const measure = async (what: string, jobs: readonly Claimed[], change: Change) => {
  await changeFor(warmUpSeconds, jobs, change)
  times.length = 0
  await changeFor(seconds, jobs, change)
  const sorted = times.toSorted((a, b) => a - b)
  printTable({
    [`${what}: changes noticed, and not`]: `${sorted.length}, ${changedAt.size}`,
    [`${what}: noticed after, P50, P99, longest (ms)`]:
      [0.5, 0.99, 1].map(share => at(sorted, share).toFixed(1)).join(', ')
  })
  if (changedAt.size > 0 || !(at(sorted, 0.99) <= p99MsMax)) process.exitCode = 1
  changedAt.clear()
}

const machine = await startMachine()
try {
  const { urls: [waitedAt = '', changedThrough = ''], databaseUrl, stop } =
    await machine.startReplicas('Postgres', { count: 2 })
  const program = new pg.Pool({ connectionString: databaseUrl })
  try {
    const connections = await Promise.all(
      Array.from({ length: 8 }, () => openConnection(changedThrough, { authorization })))
    const [first] = connections
    if (first === undefined) throw new Error('no connection was opened')
    const jobs = await claimAll(first)
    await Promise.all(jobs.map(({ jobId }) => follow(waitedAt, jobId)))
    const free = [...connections]
    const report = async ({ jobId, leaseToken }: Claimed, n: number) => {
      let connection = free.pop()
      for (; connection === undefined; connection = free.pop()) await delay(1)
      const { status, body } = await connection.post(
        `/api/v1/worker/jobs/${jobId}/progress`, { percent: n % 100, stage: `s${n}` }, { 'lease-token': leaseToken })
      free.push(connection)
      if (status !== 200) throw new Error(`${status} ${body}`)
    }
    await measure('a report at another replica', jobs, report)
    await measure('an update by another program', jobs, ({ jobId }, n) => program.query(
      'UPDATE JobExecutionLog SET progressStage = $2 WHERE jobId = $1', [jobId, `u${n}`]))
    const open = [...sockets]
    sockets.clear()
    for (const socket of open) socket.destroy()
    printTable({ 'streams opened again': reopened })
    for (const { close } of connections) close()
  } finally {
    await program.end()
    await stop()
  }
} finally {
  await machine.stop()
}
