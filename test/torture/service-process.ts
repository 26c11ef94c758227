import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { freePort } from '../helpers/redis.ts'
import { asService } from '../helpers/service.ts'
import { secret } from '../helpers/tokens.ts'

const run = promisify(execFile)

/** A service process that is started again whenever it ends, at the same address. */
export type ServiceProcess = {
  index: number
  port: number
  isUp: () => boolean
  kill: () => void
  signal: (signal: 'SIGSTOP' | 'SIGCONT') => void
  /** Limits the size of files until the process starts again: beyond it the disk is full for this process. */
  limitFiles: (bytes: number | 'unlimited') => Promise<void>
  /** Resolves when it listens. */
  up: () => Promise<void>
  close: () => Promise<void>
  /** What it wrote to the log at level error and above, and how it ended unasked. */
  complaints: string[]
  warnings: Map<string, number>
}

export type ServiceProcessNeeds = {
  index: number
  databaseUrl: string
  redisUrl: string
  /** The file that the process runs: src/main.ts, or one that starts a service with a broken rule. */
  entry: string
}

const restartPauseMs = 100

const toWarnings = () => {
  const warnings = new Map<string, number>()
  return { warnings, add: (message: string) => { warnings.set(message, (warnings.get(message) ?? 0) + 1) } }
}

export const startServiceProcess = async ({
  index, databaseUrl, redisUrl, entry
}: ServiceProcessNeeds): Promise<ServiceProcess> => {
  const port = await freePort()
  const complaints: string[] = []
  const { warnings, add } = toWarnings()
  const env = {
    ...process.env,
    PORT: String(port),
    DATABASE_URL: databaseUrl,
    REDIS_URL: redisUrl,
    JWT_SECRET: secret,
    LOG_LEVEL: 'warn',
    WORKERS: '0',
    LEASE_SECONDS: '2',
    CANCEL_GRACE_SECONDS: '1',
    PRUNE_INTERVAL_SECONDS: '5',
    // It is killed, so that V8 would measure coverage and never write it.
    NODE_V8_COVERAGE: ''
  }
  let isClosing = false
  let isKilled = false
  let isUp = false
  let ups: Array<() => void> = []
  let child: ChildProcess
  let exit: Promise<unknown> = Promise.resolve()

  const note = (line: string) => {
    if (line.includes('answers at')) {
      isUp = true
      for (const resolve of ups.splice(0)) resolve()
    }
    if (!line.startsWith('{')) return
    const { level, msg, reason, err } = JSON.parse(line) as {
      level: number, msg: string, reason?: string, err?: { message: string }
    }
    add(`${msg}${reason === undefined ? '' : `: ${reason}`}`)
    if (level >= 50) complaints.push(`process ${index}: ${msg}: ${err?.message ?? reason ?? ''}`)
  }

  const launch = () => {
    isKilled = false
    child = spawn('setpriv', [...asService, entry], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let errors = ''
    child.stderr?.on('data', chunk => { errors += String(chunk) })
    if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', note)
    exit = once(child, 'exit').then(([code, signal]) => {
      const wasUp = isUp
      isUp = false
      if (isClosing) return
      if (!isKilled) {
        (wasUp ? complaints : { push: add }).push(
        `process ${index} ended by itself: ${String(code ?? signal)} ${errors.slice(0, 500)}`
        )
      }
      setTimeout(() => { if (!isClosing) launch() }, restartPauseMs)
    })
  }
  const up = () => isUp ? Promise.resolve() : new Promise<void>(resolve => { ups = [...ups, resolve] })
  launch()
  await up()
  return {
    index,
    port,
    isUp: () => isUp,
    kill: () => {
      isKilled = true
      isUp = false
      child.kill('SIGKILL')
    },
    signal: signal => { child.kill(signal) },
    limitFiles: async bytes => {
      if (!isUp) return
      const { pid } = child
      await run('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`]).catch(
        (error: unknown) => { if (isUp && child.pid === pid) throw error }
      )
    },
    up,
    close: async () => {
      isClosing = true
      for (const resolve of ups.splice(0)) resolve()
      child.kill('SIGKILL')
      await exit
    },
    complaints,
    warnings
  }
}
