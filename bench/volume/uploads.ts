import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { get, type IncomingMessage, request } from 'node:http'
import { sign, toRequest } from '../requests.ts'
import { openConnection } from './connection.ts'
import { startProber } from './probing.ts'
import { type DatabaseKind, startMachine } from './replicas.ts'
import { printTable, toMiB } from './service.ts'

/*
 * A result of 1 GiB in one request, the completion and a download: on SQLite and on Postgres. Measures megabytes per
 * second, the growth of the service's memory (at most 100 MiB, or the program ends with 1) and the latency of /livez
 * meanwhile, from a process of its own: the generator is too busy to measure it.
 */

const sizeBytes = 1024 ** 3
const growthBytesMax = 100 * 1024 ** 2
const piece = Buffer.alloc(256 * 1024, 'result bytes ')
// Many connections, so that no request waits for the previous response.
const probing = { connections: 20, rate: 100 }
const sampleEveryMs = 20
const authorization = `Bearer ${sign()}`

type Claimed = { jobId: string, leaseToken: string }

// A connection of its own: one that was idle during the upload may be closed when it is needed.
const post = async <Answer>(
  url: string, path: string, body: unknown, headers: Record<string, string> = {}
): Promise<Answer> => {
  const connection = await openConnection(url, { authorization })
  const answer = await connection.post(path, body, headers)
  connection.close()
  if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${answer.body}`)
  return JSON.parse(answer.body) as Answer
}

const upload = async (url: string, { jobId, leaseToken }: Claimed): Promise<void> => {
  const put = request(`${url}/api/v1/worker/jobs/${jobId}/result?offset=0`, {
    method: 'PUT',
    headers: {
      authorization, 'lease-token': leaseToken, 'content-type': 'application/x-bench', 'content-length': sizeBytes
    }
  })
  const answered = once(put, 'response') as Promise<[AsyncIterable<Buffer> & { statusCode: number }]>
  for (let sent = 0; sent < sizeBytes; sent += piece.length) {
    if (!put.write(piece)) await once(put, 'drain')
  }
  put.end()
  const [answer] = await answered
  let text = ''
  for await (const bytes of answer) text += bytes.toString()
  const isStored = answer.statusCode === 200 && (JSON.parse(text) as { offset: number }).offset === sizeBytes
  if (!isStored) throw new Error(`the upload: ${answer.statusCode} ${text}`)
}

const startDownload = async (url: string, jobId: string): Promise<IncomingMessage> => {
  const [answer] = await once(
    get(`${url}/api/v1/jobs/${jobId}/result`, { headers: { authorization } }), 'response') as [IncomingMessage]
  if (answer.statusCode !== 200) throw new Error(`the download: ${answer.statusCode}`)
  return answer
}

// The hash is computed apart from the measured download: it would take half of the time of the generator.
const verify = async (url: string, jobId: string): Promise<void> => {
  const answer = await startDownload(url, jobId)
  const hash = createHash('sha256')
  for await (const bytes of answer as AsyncIterable<Buffer>) hash.update(bytes)
  if (answer.headers['repr-digest'] !== `sha-256=:${hash.digest('base64')}:`) throw new Error('the bytes differ')
}

const download = async (url: string, jobId: string): Promise<void> => {
  let received = 0
  const answer = await startDownload(url, jobId)
  answer.on('data', (bytes: Buffer) => { received += bytes.byteLength })
  await once(answer, 'end')
  if (received !== sizeBytes) throw new Error(`the download: ${received} bytes`)
}

const rssBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024

const growthWhile = async (pid: number, work: () => Promise<unknown>): Promise<number> => {
  const before = rssBytes(pid)
  let highest = before
  const timer = setInterval(() => { highest = Math.max(highest, rssBytes(pid)) }, sampleEveryMs)
  await work()
  clearInterval(timer)
  return Math.max(highest, rssBytes(pid)) - before
}

const at = (sorted: number[], share: number): string =>
  `${(sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1)} ms`

const machine = await startMachine()

const measureOn = async (kind: DatabaseKind): Promise<void> => {
  const { servers: [server], stop } = await machine.startReplicas(kind)
  if (server === undefined) throw new Error('no service was started')
  const { url, pid, cpu } = server
  const measure = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const prober = await startProber({ url, request: toRequest('GET', url, '/livez', {}), ...probing })
    const before = await cpu()
    prober.begin()
    const began = performance.now()
    const growth = await growthWhile(pid, work)
    const seconds = (performance.now() - began) / 1000
    const after = await cpu()
    const latencies = (await prober.end()).map(([, ms]) => ms).toSorted((a, b) => a - b)
    const millis = (after.cpuMicros - before.cpuMicros) / 1000
    const waited = (after.waitedMs - before.waitedMs) / (after.atMs - before.atMs)
    printTable({
      [`${kind}, ${what}: rate`]: `${(sizeBytes / 1e6 / seconds).toFixed(0)} MB/s`,
      [`${kind}, ${what}: CPU`]: `${(millis / (sizeBytes / 1e6)).toFixed(2)} ms for a MB`,
      [`${kind}, ${what}: waited for a core`]: `${(100 * waited).toFixed(0)} % of the time`,
      [`${kind}, ${what}: memory`]: toMiB(growth),
      [`${kind}, ${what}: /livez p50, p99, max`]: [0.5, 0.99, 1].map(share => at(latencies, share)).join(', ')
    })
    if (growth > growthBytesMax) process.exitCode = 1
  }
  try {
    await post(url, '/api/v1/jobs', { type: 'bench', input: null })
    const claimed = await post<Claimed>(url, '/api/v1/worker/claim', { types: ['bench'], leaseSeconds: 600 })
    await measure('upload', () => upload(url, claimed))
    await measure('complete', () =>
      post(url, `/api/v1/worker/jobs/${claimed.jobId}/complete`, {}, { 'lease-token': claimed.leaseToken }))
    await verify(url, claimed.jobId)
    await measure('download', () => download(url, claimed.jobId))
  } finally {
    await stop()
  }
}

try {
  for (const kind of ['SQLite', 'Postgres'] as const) await measureOn(kind)
} finally {
  await machine.stop()
}
