import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createSigner } from 'fast-jwt'

const secret = 'the-secret-of-the-bench-and-of-its-servers'

const directory = mkdtempSync(join(tmpdir(), 'bench-'))

/** Path of the database of this run, which is removed at the end. */
export const databasePath = join(directory, 'jobs.db')

/** Authorization header with all scopes that the programs need. */
export const authorization = `Bearer ${createSigner({ key: secret, algorithm: 'HS256', expiresIn: 3_600_000 })({
  sub: 'bench', scope: 'jobs:read jobs:write jobs:work'
})}`

const findAddress = async (lines: AsyncIterable<string>): Promise<string> => {
  for await (const line of lines) {
    const address = /"msg":"(http:\/\/[^"]+)"/.exec(line)?.[1]
    if (address !== undefined) return address
  }
  throw new Error('the service did not start')
}

/** Starts the service as a process, with access to its memory use and its metrics. */
export const startService = async (env: Record<string, string> = {}) => {
  // The service must not outlive a bench that is killed.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, 'src/main.ts'], {
    env: {
      ...process.env, DATABASE_URL: `sqlite:${databasePath}`, JWT_SECRET: secret, PORT: '0', WORKERS: '0', ...env
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exit = once(child, 'exit')
  const url = await findAddress(createInterface({ input: child.stdout }))
  child.stdout.resume()
  const rssBytes = (): number =>
    Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  return {
    url,
    rssBytes,
    /** The CPU time of the process so far, as the system counts it: in hundredths of a second. */
    cpuSeconds: (): number => {
      const [, fields = ''] = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')
      const [user, system] = fields.split(' ').slice(11, 13)
      return (Number(user) + Number(system)) / 100
    },
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
      child.kill('SIGTERM')
      await exit
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
