import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createSigner } from 'fast-jwt'

const secret = 'the-secret-of-the-bench-and-of-its-servers'

const directory = mkdtempSync(join(tmpdir(), 'bench-'))

// For a look into the service: NODE_ARGS=--cpu-prof.
const nodeArgs = (process.env.NODE_ARGS ?? '').split(' ').filter(Boolean)

/** Path of the database of this run, which is removed at the end. */
export const databasePath = join(directory, 'jobs.db')

/** Authorization header with all scopes that the programs need. */
export const authorization = `Bearer ${createSigner({ key: secret, algorithm: 'HS256', expiresIn: 3_600_000 })({
  sub: 'bench', scope: 'jobs:read jobs:write jobs:work'
})}`

const findAddress = async (lines: AsyncIterable<string>): Promise<string> => {
  for await (const line of lines) {
    const address = /"(?:msg|url)":"(http:\/\/[^"]+)"/.exec(line)?.[1]
    if (address !== undefined) return address
  }
  throw new Error('the server did not start')
}

/** What a process has used so far. `waitedSeconds`: how long its main thread was ready to run but had no core. */
export type Usage = { atMs: number, cpuSeconds: number, waitedSeconds: number }

/** Starts a server that prints its address, as a process with access to its memory and CPU. */
export const startProcess = async (program: string, env: Record<string, string>) => {
  // The process must not outlive a bench that is killed.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, ...nodeArgs, program], {
    env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit']
  })
  const exit = once(child, 'exit')
  const url = await findAddress(createInterface({ input: child.stdout }))
  child.stdout.resume()
  const read = (file: string): string => readFileSync(`/proc/${child.pid}/${file}`, 'utf8')
  const rssBytes = (): number => Number(/^VmRSS:\s+(\d+) kB/m.exec(read('status'))?.[1] ?? 0) * 1024
  // As the system counts it: in hundredths of a second.
  const cpuSeconds = (): number => {
    const [, fields = ''] = read('stat').split(') ')
    const [user, system] = fields.split(' ').slice(11, 13)
    return (Number(user) + Number(system)) / 100
  }
  return {
    url,
    pid: child.pid ?? 0,
    rssBytes,
    cpuSeconds,
    usage: (): Usage => ({
      atMs: performance.now(), cpuSeconds: cpuSeconds(), waitedSeconds: Number(read('schedstat').split(' ')[1]) / 1e9
    }),
    end: async (): Promise<void> => {
      child.kill('SIGTERM')
      await exit
    }
  }
}

/** Starts the service as a process, with access to its memory use and its metrics. */
export const startService = async (env: Record<string, string> = {}) => {
  const { url, pid, rssBytes, cpuSeconds, usage, end } = await startProcess('src/main.ts', {
    DATABASE_URL: `sqlite:${databasePath}`, JWT_SECRET: secret, PORT: '0', WORKERS: '0', ...env
  })
  return {
    url,
    pid,
    rssBytes,
    cpuSeconds,
    usage,
    /** Reads one value of /metrics; `labels` as in its text. */
    metric: async (name: string, labels = ''): Promise<number> => {
      const text = await (await fetch(`${url}/metrics`)).text()
      const line = text.split('\n').find(line => line.startsWith(`${name}${labels} `))
      return Number(line?.split(' ').at(-1) ?? 0)
    },
    /** Growth of the resident memory, in bytes, while `work` runs. */
    growthWhile: async (work: () => Promise<unknown>): Promise<number> => {
      const before = rssBytes()
      let highest = before
      const timer = setInterval(() => { highest = Math.max(highest, rssBytes()) }, 20)
      await work()
      clearInterval(timer)
      return Math.max(highest, rssBytes()) - before
    },
    /** `isKept`: the database stays for another start. */
    stop: async ({ isKept = false } = {}) => {
      await end()
      if (!isKept) rmSync(directory, { recursive: true, force: true })
    }
  }
}

/** Prints the figures, one per line. */
export const printTable = (rows: Record<string, string | number>): void => {
  const width = Math.max(...Object.keys(rows).map(({ length }) => length))
  for (const [name, value] of Object.entries(rows)) process.stdout.write(`${name.padEnd(width)}   ${value}\n`)
}

export const toMiB = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`

export const median = (numbers: number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0
