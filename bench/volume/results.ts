import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { createSigner } from 'fast-jwt'
import { runningJob } from './running-job.ts'

/*
 * The cost of a large result. 1 GiB is written with the append function of the store, and then downloaded from a
 * service: as a whole, by ranges from the middle, and by slow clients. The memory of the service (VmRSS) is sampled
 * meanwhile. The goal is a growth of less than 100 MiB.
 */

const mebibyte = 1024 * 1024
const sizeBytes = 1024 * mebibyte
const chunkBytes = 256 * 1024
const rangeBytes = 64 * mebibyte
const rangeCount = 4
const slowClients = 20
const slowSeconds = 5
const slowBytesPerSecond = 1024
const sampleEveryMs = 20
const secret = 'the-secret-of-the-bench-and-of-its-servers'

const directory = mkdtempSync(join(tmpdir(), 'bench-'))
const databasePath = join(directory, 'jobs.db')

const rssMiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

type Row = { name: string, mebibytes: number, seconds: number, before: number, peak: number, after: number }

const measure = async (pid: number, name: string, work: () => Promise<number>): Promise<Row> => {
  const before = rssMiB(pid)
  let peak = before
  const sampling = setInterval(() => { peak = Math.max(peak, rssMiB(pid)) }, sampleEveryMs)
  const start = performance.now()
  const bytes = await work()
  const seconds = (performance.now() - start) / 1000
  clearInterval(sampling)
  const after = rssMiB(pid)
  return { name, mebibytes: bytes / mebibyte, seconds, before, peak: Math.max(peak, after), after }
}

const ask = (url: string, headers: Record<string, string>, expected: number): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    get(url, { headers, agent: false }, answer => {
      if (answer.statusCode === expected) return resolve(answer)
      answer.destroy()
      reject(new Error(`${url}: ${answer.statusCode}, not ${expected}`))
    }).on('error', reject)
  })

const downloadWhole = async (url: string, headers: Record<string, string>): Promise<number> => {
  const answer = await ask(url, headers, 200)
  const hash = createHash('sha256')
  let received = 0
  for await (const bytes of answer as AsyncIterable<Buffer>) {
    hash.update(bytes)
    received += bytes.byteLength
  }
  const isStored = answer.headers['repr-digest'] === `sha-256=:${hash.digest('base64')}:`
  if (!isStored) throw new Error('the response differs from the stored result')
  return received
}

const downloadRanges = async (url: string, headers: Record<string, string>): Promise<number> => {
  let received = 0
  for (let index = 0; index < rangeCount; index++) {
    const start = sizeBytes / 2 + index * rangeBytes + 1
    const answer = await ask(url, { ...headers, range: `bytes=${start}-${start + rangeBytes - 1}` }, 206)
    for await (const bytes of answer as AsyncIterable<Buffer>) received += bytes.byteLength
  }
  return received
}

const readSlowly = async (url: string, headers: Record<string, string>): Promise<number> => {
  const answer = await ask(url, headers, 200)
  answer.pause()
  let received = 0
  for (let second = 0; second < slowSeconds; second++) {
    received += (answer.read(slowBytesPerSecond) as Buffer | null)?.byteLength ?? 0
    await delay(1000)
  }
  answer.destroy()
  return received
}

const startService = async () => {
  const service = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, 'src/main.ts'], {
    env: {
      ...process.env,
      DATABASE_URL: `sqlite:${databasePath}`,
      JWT_SECRET: secret,
      PORT: '0',
      WORKERS: '0',
      LOG_LEVEL: 'info'
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  for await (const line of createInterface({ input: service.stdout })) {
    const address = /"msg":"(http:\/\/[^"]+)"/.exec(line)?.[1]
    if (address !== undefined) return { service, url: address, pid: service.pid ?? 0 }
  }
  throw new Error('the service did not start')
}

const storeResult = async (): Promise<{ jobId: string, seconds: number }> => {
  const job = await runningJob(databasePath)
  const start = performance.now()
  const hash = createHash('sha256')
  const bytes = Buffer.alloc(chunkBytes)
  for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
    // No two chunks are the same.
    bytes.fill(`${offset} `)
    hash.update(bytes)
    await job.append(offset, bytes)
  }
  const seconds = (performance.now() - start) / 1000
  await job.complete({ sizeBytes, sha256: hash.digest('base64') })
  return { jobId: job.jobId, seconds }
}

const toLine = ({ name, mebibytes, seconds, before, peak, after }: Row): string => [
  name.padEnd(34),
  mebibytes.toFixed(1).padStart(8),
  seconds.toFixed(1).padStart(8),
  (mebibytes / seconds).toFixed(0).padStart(8),
  before.toFixed(0).padStart(8),
  peak.toFixed(0).padStart(8),
  after.toFixed(0).padStart(8),
  (peak - before).toFixed(0).padStart(8)
].join('')

try {
  const { jobId, seconds } = await storeResult()
  const rate = (sizeBytes / mebibyte / seconds).toFixed(0)
  const transactions = sizeBytes / chunkBytes
  process.stdout.write(`appended ${sizeBytes / mebibyte} MiB in ${transactions} transactions: ${rate} MiB/s\n`)
  const { service, url, pid } = await startService()
  try {
    service.stdout.resume()
    const sign = createSigner({ key: secret, algorithm: 'HS256', expiresIn: 600_000 })
    const headers = { authorization: `Bearer ${sign({ sub: 'bench' })}` }
    const result = `${url}/api/v1/jobs/${jobId}/result`
    await (await fetch(`${url}/api/v1/jobs/${jobId}`, { headers })).text()
    const idle = rssMiB(pid)
    const rows = [
      // The slow clients come first, while the process has no free memory of earlier downloads.
      await measure(pid, `${slowClients} clients at ${slowBytesPerSecond} bytes/s`, async () => {
        const received = await Promise.all(Array.from({ length: slowClients }, () => readSlowly(result, headers)))
        return received.reduce((sum, bytes) => sum + bytes, 0)
      }),
      await measure(pid, 'whole', () => downloadWhole(result, headers)),
      await measure(pid, `${rangeCount} ranges from the middle`, () => downloadRanges(result, headers)),
      await measure(pid, 'whole, again', () => downloadWhole(result, headers))
    ]
    const peak = Math.max(...rows.map(row => row.peak))
    const head = ['', 'MiB', 's', 'MiB/s', 'before', 'peak', 'after', 'growth']
      .map((title, index) => index === 0 ? title.padEnd(34) : title.padStart(8)).join('')
    process.stdout.write(`${[
      head,
      ...rows.map(toLine),
      '',
      `memory of the idle service          ${idle.toFixed(0)} MiB`,
      `growth at the peak                  ${(peak - idle).toFixed(0)} MiB (goal: less than 100)`
    ].join('\n')}\n`)
  } finally {
    service.kill('SIGTERM')
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
