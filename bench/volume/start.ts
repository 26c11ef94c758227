import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../servers.ts'
import { authorization, median, printTable } from './service.ts'

/*
 * What it costs to have the service: the time from its spawn to its first answer, and its memory when nothing happens,
 * beside a bare Fastify route of the same run; then the first job of an idle process, and the next one. The service runs
 * as `npm start` does, with one worker, in a folder of its own. The first start of all fills the compile cache, and is
 * only shown.
 */

const rounds = 7
const settleMs = 2500
const pollMs = 2

/** What it may cost, on a machine without other work. */
const bounds = { startRatio: 3, idleMiB: 120, firstJobMs: 300, secondJobMs: 50 }

const root = resolve(import.meta.dirname, '../..')
const directory = mkdtempSync(join(tmpdir(), 'bench-'))

const startArgs = (): string[] => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
  const [, , ...args] = scripts.start.split(' ')
  return args.map(arg => arg.startsWith('-') ? arg : join(root, arg))
}

const service = { args: startArgs(), path: '/livez' }
const control = { args: [join(root, 'bench/controls/bare.ts')], path: '/' }

const statusOf = (port: number, path: string): Promise<number> => new Promise(resolve => {
  const request = http.get({ host: '127.0.0.1', port, path, agent: false }, response => {
    response.resume().on('end', () => { resolve(response.statusCode ?? 0) })
  })
  request.on('error', () => { resolve(0) })
})

const rssMiB = ({ pid }: ChildProcess): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024

/** Starts a server, and waits for its first answer. */
const start = async ({ args, path }: typeof service) => {
  const port = await freePort()
  const beganAt = performance.now()
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, ...args], {
    cwd: directory,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_ENV: 'production',
      JWT_SECRET: 'the-secret-of-the-bench-and-of-its-servers',
      LOG_LEVEL: 'warn',
      WORKERS: '1',
      PORT: String(port)
    },
    stdio: ['ignore', 'ignore', 'inherit']
  })
  const exit = once(child, 'exit')
  while (await statusOf(port, path) !== 200) {
    if (child.exitCode !== null) throw new Error(`${args.at(-1)} ended with ${child.exitCode}`)
    await delay(pollMs)
  }
  const startMs = performance.now() - beganAt
  return {
    url: `http://127.0.0.1:${port}`,
    startMs,
    rssMiB: () => rssMiB(child),
    stop: async () => {
      child.kill('SIGTERM')
      await exit
    }
  }
}

/** ms from the submission of a job until a client that waits for it knows its end. */
const runJob = async (url: string, type: string, input: object): Promise<number> => {
  const beganAt = performance.now()
  const accepted = await fetch(`${url}/api/v1/jobs`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ type, input })
  })
  const { jobId } = await accepted.json() as { jobId: string }
  for (;;) {
    const answer = await fetch(`${url}/api/v1/jobs/${jobId}?wait=20`, { headers: { authorization } })
    const { status } = await answer.json() as { status: string }
    if (status === 'Succeeded') return performance.now() - beganAt
    if (status === 'Failed') throw new Error(`the ${type} job failed`)
  }
}

type Figures = { startMs: number[], idleMiB: number[] }

const jobs = {
  sanitize: { content: '<p onclick=x>text<script>x</script></p>', contentType: 'text/html' },
  report: { format: 'csv' }
}
const figures: Record<'service' | 'control', Figures> = {
  service: { startMs: [], idleMiB: [] }, control: { startMs: [], idleMiB: [] }
}
const jobMs: Record<keyof typeof jobs, { first: number[], second: number[] }> = {
  sanitize: { first: [], second: [] }, report: { first: [], second: [] }
}

const measureControl = async (): Promise<void> => {
  const { startMs, rssMiB, stop } = await start(control)
  await delay(settleMs)
  figures.control.startMs.push(startMs)
  figures.control.idleMiB.push(rssMiB())
  await stop()
}

const measureService = async (type: keyof typeof jobs): Promise<void> => {
  const { url, startMs, rssMiB, stop } = await start(service)
  await delay(settleMs)
  figures.service.startMs.push(startMs)
  figures.service.idleMiB.push(rssMiB())
  jobMs[type].first.push(await runJob(url, type, jobs[type]))
  jobMs[type].second.push(await runJob(url, type, jobs[type]))
  await stop()
}

const ms = (numbers: number[]): string => `${median(numbers).toFixed(0)} ms`

try {
  const cold = await start(service)
  for (const [type, input] of Object.entries(jobs)) await runJob(cold.url, type, input)
  await cold.stop()
  for (let round = 0; round < rounds; round++) {
    await measureControl()
    await measureService(round % 2 === 0 ? 'sanitize' : 'report')
  }
  const startRatio = median(figures.service.startMs) / median(figures.control.startMs)
  const idleMiB = median(figures.service.idleMiB)
  const firstJobMs = Math.max(...Object.values(jobMs).map(({ first }) => median(first)))
  const secondJobMs = Math.max(...Object.values(jobMs).map(({ second }) => median(second)))
  const reached = { startRatio, idleMiB, firstJobMs, secondJobMs }
  printTable({
    'from spawn to the first answer, median': ms(figures.service.startMs),
    'the first start of all': ms([cold.startMs]),
    'a bare Fastify route': ms(figures.control.startMs),
    [`ratio (at most ${bounds.startRatio})`]: startRatio.toFixed(2),
    [`resident memory, idle (at most ${bounds.idleMiB} MiB)`]: `${idleMiB.toFixed(0)} MiB`,
    'a bare Fastify route, idle': `${median(figures.control.idleMiB).toFixed(0)} MiB`,
    [`first job of a process: sanitize, report (at most ${bounds.firstJobMs} ms)`]:
      `${ms(jobMs.sanitize.first)}, ${ms(jobMs.report.first)}`,
    [`second job: sanitize, report (at most ${bounds.secondJobMs} ms)`]:
      `${ms(jobMs.sanitize.second)}, ${ms(jobMs.report.second)}`
  })
  const names = Object.keys(bounds) as Array<keyof typeof bounds>
  if (names.some(name => reached[name] > bounds[name])) process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
