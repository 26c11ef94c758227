import { ensurePeers } from '../peers.ts'
import { secret, sign } from '../requests.ts'
import { startServer, type Server } from '../servers.ts'
import { type Connection, openConnection } from './connection.ts'
import { type DatabaseKind, startMachine } from './replicas.ts'
import { printTable } from './service.ts'

/*
 * 10 and 50 workers claim jobs over HTTP: first they only claim, then they claim and complete. On SQLite and on
 * Postgres, there also beside 10 thousand and 10 million other records, each with Redis; and with pg-boss, whose
 * fetch() and complete() are the routes of a bare Fastify that verifies the same token. Measures jobs per second, the
 * CPU of the process for a job, and jobs that two workers claimed, of which there must be none.
 */

const jobCount = 8000
// Completed too, and not counted: what runs for the first time is not compiled yet.
const warmUp = 1000
const claimedOnly = 3000
const submitters = 20
const workerCounts = [10, 50]
const workersOfMany = 50

type Work = {
  submit: (connection: Connection) => Promise<void>
  /** The job, with what completes it; null: none is left. */
  claim: (connection: Connection) => Promise<{ id: string, leaseToken: string } | null>
  complete: (connection: Connection, id: string, leaseToken: string) => Promise<void>
}

const read = <Body>({ status, body }: { status: number, body: string }): Body => {
  if (status >= 300) throw new Error(`${status} ${body}`)
  return (body === '' ? undefined : JSON.parse(body)) as Body
}

const service: Work = {
  submit: async connection => { read(await connection.post('/api/v1/jobs', { type: 'bench', input: { a: 1 } })) },
  claim: async connection => {
    const answer = await connection.post('/api/v1/worker/claim', { types: ['bench'] })
    if (answer.status === 204) return null
    const { jobId, leaseToken, attempt } = read<{ jobId: string, leaseToken: string, attempt: number }>(answer)
    if (attempt !== 1) throw new Error(`job ${jobId} is in attempt ${attempt}, so the run is not valid`)
    return { id: jobId, leaseToken }
  },
  complete: async (connection, id, leaseToken) => {
    const path = `/api/v1/worker/jobs/${id}/complete`
    read(await connection.post(path, { result: { ok: true } }, { 'lease-token': leaseToken }))
  }
}

const pgBoss: Work = {
  submit: async connection => { read(await connection.post('/send', { a: 1 })) },
  claim: async connection => {
    const answer = await connection.post('/fetch', {})
    return answer.status === 204 ? null : { id: read<{ id: string }>(answer).id, leaseToken: '' }
  },
  complete: async (connection, id) => { read(await connection.post(`/complete/${id}`, { result: { ok: true } })) }
}

type Rates = { submitted: number, claimed: number, finished: number, micros: number, duplicates: number }

const timed = async (
  connections: readonly Connection[], count: number, work: (connection: Connection) => Promise<unknown>
) => {
  const began = performance.now()
  let left = count
  await Promise.all(connections.map(async connection => { while (left-- > 0) await work(connection) }))
  return count * 1000 / (performance.now() - began)
}

const open = (url: string, count: number): Promise<Connection[]> => Promise.all(
  Array.from({ length: count }, () => openConnection(url, { authorization: `Bearer ${sign()}` })))

const measure = async ({ url, cpu }: Server, work: Work, workers: number): Promise<Rates> => {
  const submitting = await open(url, submitters)
  const submitted = await timed(submitting, jobCount, work.submit)
  const connections = await open(url, workers)
  const ids: string[] = []
  const claim = async (connection: Connection) => {
    const job = await work.claim(connection)
    if (job === null) throw new Error('no job was left')
    ids.push(job.id)
    return job
  }
  const finish = async (connection: Connection) => {
    const { id, leaseToken } = await claim(connection)
    await work.complete(connection, id, leaseToken)
  }
  await timed(connections, warmUp, finish)
  const claimed = await timed(connections, claimedOnly, claim)
  const before = await cpu()
  const rest = jobCount - warmUp - claimedOnly
  const finished = await timed(connections, rest, finish)
  const micros = ((await cpu()).cpuMicros - before.cpuMicros) / rest
  for (const { close } of [...submitting, ...connections]) close()
  return { submitted, claimed, finished, micros, duplicates: ids.length - new Set(ids).size }
}

const machine = await startMachine()

const onService = async (kind: DatabaseKind, workers: number, rows = 0): Promise<Rates> => {
  const { servers: [server], stop } = await machine.startReplicas(kind, { rows })
  if (server === undefined) throw new Error('no service was started')
  try {
    return await measure(server, service, workers)
  } finally {
    await stop()
  }
}

const onPgBoss = async (workers: number): Promise<Rates> => {
  const reason = await ensurePeers()
  if (reason !== null) throw new Error(reason)
  const server = await startServer({
    program: 'bench/peers/pg-boss-work.ts',
    env: { JWT_SECRET: secret, POSTGRES_URL: await machine.postgres.createDatabase() }
  })
  try {
    return await measure(server, pgBoss, workers)
  } finally {
    await server.stop()
  }
}

const print = (what: string, { submitted, claimed, finished, micros, duplicates }: Rates): void => {
  printTable({
    [`${what}: submitted per second`]: submitted.toFixed(0),
    [`${what}: claimed per second`]: claimed.toFixed(0),
    [`${what}: claimed and completed per second`]: finished.toFixed(0),
    [`${what}: µs of CPU for a claim and a completion`]: micros.toFixed(0),
    [`${what}: claimed twice`]: duplicates
  })
  if (duplicates > 0) process.exitCode = 1
}

try {
  for (const workers of workerCounts) {
    const rates = { SQLite: await onService('SQLite', workers), Postgres: await onService('Postgres', workers) }
    const peer = await onPgBoss(workers)
    for (const [kind, each] of Object.entries(rates)) print(`${kind}, ${workers} workers`, each)
    print(`pg-boss, ${workers} workers`, peer)
  }
  for (const rows of [10_000, 10_000_000]) {
    const what = `Postgres, ${workersOfMany} workers, ${rows.toLocaleString('en')} records`
    print(what, await onService('Postgres', workersOfMany, rows))
  }
} finally {
  await machine.stop()
}
