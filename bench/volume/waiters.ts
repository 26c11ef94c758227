import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { availableParallelism, loadavg } from 'node:os'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { authorization, databasePath, printTable, startService } from './service.ts'

/*
 * 10,000 clients wait, each for a job of its own: first with long polls, then on streams of events. Measures the memory
 * of a client against a bare Fastify route that holds its reply, the CPU of the service while nothing happens, and how
 * soon a client hears of the end of its job while another program ends 500 jobs a second.
 *
 * WAITERS changes their number.
 */

const waiters = Number(process.env.WAITERS ?? '10000')
const endsPerSecond = 500
const roundMs = 10
const idleMs = 5000
const openedAtOnce = 200

const rssOf = (pid: number | undefined): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024

const openOne = async (url: URL, path: string, onData: (text: string) => void): Promise<Socket> => {
  const socket = connect(Number(url.port), url.hostname)
  socket.on('data', data => { onData(data.toString('latin1')) })
  await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`)
  return socket
}

const openAll = async (url: URL, toPath: (index: number) => string, onData: (index: number, text: string) => void) => {
  const sockets: Socket[] = []
  while (sockets.length < waiters) {
    const first = sockets.length
    const count = Math.min(openedAtOnce, waiters - first)
    sockets.push(...await Promise.all(Array.from({ length: count }, (_, offset) =>
      openOne(url, toPath(first + offset), text => { onData(first + offset, text) }))))
  }
  // What was opened last is read, and what was thrown away is collected, as far as it is going to be.
  await delay(3000)
  return () => { for (const socket of sockets) socket.destroy() }
}

/** Bytes of memory of a client of the control. */
const measureControl = async (path: string): Promise<number> => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, 'bench/controls/holding.ts'], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
  const { url } = JSON.parse(line) as { url: string }
  const before = rssOf(child.pid)
  const close = await openAll(new URL(url), () => path, () => {})
  const bytes = (rssOf(child.pid) - before) / waiters
  close()
  child.kill('SIGTERM')
  return bytes
}

const quantile = (sorted: readonly number[], share: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1)

const measureService = async (kind: 'long-poll' | 'stream') => {
  const { url, rssBytes, cpuSeconds, stop } = await startService({ WAITERS_MAX: String(2 * waiters) })
  const database = new SqliteDatabase(databasePath)
  database.pragma('synchronous = OFF')
  database.exec(`INSERT OR IGNORE INTO JobExecutionLog (jobId, status)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${waiters - 1})
    SELECT '${kind}-' || i, 'Running' FROM n`)
  await delay(1000)
  const endedAt = new Map<number, number>()
  const lateness: number[] = []
  const toPath = (index: number) => `/api/v1/jobs/${kind}-${index}${kind === 'stream' ? '/events' : '?wait=55'}`
  const before = rssBytes()
  const close = await openAll(new URL(url), toPath, (index, text) => {
    const at = endedAt.get(index)
    if (at === undefined || !text.includes('Succeeded')) return
    lateness.push(performance.now() - at)
    endedAt.delete(index)
  })
  const bytes = (rssBytes() - before) / waiters
  const idleBefore = cpuSeconds()
  await delay(idleMs)
  const idle = (cpuSeconds() - idleBefore) * 1000 / idleMs
  const end = database.prepare('UPDATE JobExecutionLog SET status = \'Succeeded\' WHERE jobId = ?')
  const endSome = database.transaction((from: number, to: number) => {
    for (let index = from; index < to; index += 1) end.run(`${kind}-${index}`)
  })
  const cpuBefore = cpuSeconds()
  const began = performance.now()
  for (let ended = 0; ended < waiters;) {
    const due = Math.min(waiters, Math.floor((performance.now() - began) * endsPerSecond / 1000))
    if (due > ended) {
      endSome(ended, due)
      const now = performance.now()
      for (let index = ended; index < due; index += 1) endedAt.set(index, now)
      ended = due
    }
    await delay(roundMs)
  }
  while (endedAt.size > 0 && performance.now() < began + waiters / endsPerSecond * 1000 + 10_000) await delay(10)
  const cpu = (cpuSeconds() - cpuBefore) * 1000 / (performance.now() - began)
  close()
  database.close()
  await stop({ isKept: kind === 'long-poll' })
  const sorted = lateness.toSorted((a, b) => a - b)
  return { bytes, idle, cpu, missing: endedAt.size, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) }
}

for (const kind of ['long-poll', 'stream'] as const) {
  const control = await measureControl(kind === 'stream' ? '/stream' : '/reply')
  const { bytes, idle, cpu, missing, p50, p99 } = await measureService(kind)
  printTable({
    'waiting clients': `${waiters}, ${kind}`,
    'KiB of a client, and of the control': `${(bytes / 1024).toFixed(1)}, ${(control / 1024).toFixed(1)}`,
    'ratio to the control': (bytes / control).toFixed(2),
    'cores used while nothing happens': idle.toFixed(3),
    [`cores used at ${endsPerSecond} ends a second`]: cpu.toFixed(2),
    'noticed after, P50 (ms)': p50,
    'noticed after, P99 (ms)': p99,
    'never noticed': missing,
    'load of the machine, and its cores': `${loadavg()[0]?.toFixed(1)}, ${availableParallelism()}`
  })
  if (missing > 0) process.exitCode = 1
}
