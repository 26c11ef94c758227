import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { CpuReading } from './cpu-hook.ts'

/*
 * The processes of a run. Each ends with the bench, even if the bench is killed.
 */

const cpuHook = resolve(import.meta.dirname, 'cpu-hook.ts')
const startMsMax = 60_000
const stopMsMax = 10_000

const root = resolve(import.meta.dirname, '..')

export type ServerOptions = {
  /** Path of the program, relative to the root of the project. */
  program: string
  /** Arguments for Node: `--cpu-prof`, `--import=…`. */
  nodeArgs?: readonly string[]
  env: Record<string, string>
}

export type Server = {
  url: string
  pid: number
  cpu: () => Promise<CpuReading>
  stop: () => Promise<void>
}

const findAddress = (line: string): string | undefined => {
  try {
    const { url, msg } = JSON.parse(line) as { url?: string, msg?: string }
    return [url, msg].find(text => /^https?:\/\//.test(text ?? ''))
  } catch {
    return undefined
  }
}

const exited = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

const stopChild = async (child: ChildProcess): Promise<void> => {
  const end = exited(child)
  child.kill('SIGTERM')
  const timer = setTimeout(() => { child.kill('SIGKILL') }, stopMsMax)
  await end
  clearTimeout(timer)
}

const untilAddress = (child: ChildProcess, program: string): Promise<string> => new Promise((resolve, reject) => {
  if (child.stdout === null) throw new Error('no standard output')
  const lines: string[] = []
  const fail = (what: string) => { reject(new Error(`${program} ${what}\n${lines.join('\n')}`)) }
  const timer = setTimeout(() => { fail('did not print its address in time') }, startMsMax)
  const input = createInterface({ input: child.stdout })
  input.on('line', line => {
    lines.push(line)
    const address = findAddress(line)
    if (address === undefined) return
    clearTimeout(timer)
    input.close()
    child.stdout?.resume()
    resolve(address)
  })
  child.once('exit', code => {
    clearTimeout(timer)
    fail(`exited with ${code} before it listened`)
  })
})

/**
 * Starts a program that prints its address as a line of JSON, in `url` or `msg`. Throws an error with the program's
 * output if it exits before that.
 */
export const startServer = async ({ program, nodeArgs = [], env }: ServerOptions): Promise<Server> => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, '--import', cpuHook, ...nodeArgs, program], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_ENV: 'production', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc']
  })
  try {
    const url = await untilAddress(child, program)
    return {
      url,
      pid: child.pid ?? 0,
      cpu: async () => {
        const answer = once(child, 'message', { signal: AbortSignal.timeout(startMsMax) })
        child.send('cpu')
        return (await answer)[0] as CpuReading
      },
      stop: () => stopChild(child)
    }
  } catch (error) {
    await stopChild(child)
    throw error
  }
}

/** Finds a port on which no process listens. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** `commands`: without INFO, those of scripts included. `cpuMicros`: user and system time of the whole process. */
export type RedisUsage = { commands: number, cpuMicros: number, bytesSent: number }

export type RedisServer = {
  url: string
  /** What the server has done since it started; null while it is down. */
  usage: () => Promise<RedisUsage | null>
  kill: () => Promise<void>
  /** Starts it again, empty, on the same port. */
  restart: () => Promise<void>
  stop: () => Promise<void>
}

const launchRedis = async (port: number, settings: readonly string[]): Promise<ChildProcess> => {
  const child = spawn('setpriv', [
    '--pdeathsig', 'KILL',
    'redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...settings
  ], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes('Ready to accept connections')) {
      child.stdout.resume()
      return child
    }
  }
  throw new Error('redis-server did not start')
}

// INFO is left out: the bench sends it to read the counts, and the service sends it once a second to probe Redis.
const countCommands = (commandStats: string): number =>
  Array.from(commandStats.matchAll(/^cmdstat_(?!info:)[^:]+:calls=(\d+)/gm), ([, calls]) => Number(calls))
    .reduce((sum, calls) => sum + calls, 0)

const toUsage = (info: string): RedisUsage => {
  const value = (name: string) => Number(new RegExp(`^${name}:(.*)\\r$`, 'm').exec(info)?.[1] ?? 0)
  return {
    commands: countCommands(info),
    cpuMicros: (value('used_cpu_user') + value('used_cpu_sys')) * 1e6,
    bytesSent: value('total_net_output_bytes')
  }
}

/** Starts a Redis for this run, without persistence. `settings`: more options of redis-server. */
export const startRedis = async (settings: readonly string[] = []): Promise<RedisServer> => {
  const port = await freePort()
  let child = await launchRedis(port, settings)
  const client = new Redis(port, '127.0.0.1', { retryStrategy: () => 20, maxRetriesPerRequest: 0 })
  client.on('error', () => {})
  const kill = async () => {
    const end = exited(child)
    child.kill('SIGKILL')
    await end
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    usage: () => client.info('all').then(toUsage, () => null),
    kill,
    restart: async () => {
      if (child.exitCode !== null || child.signalCode !== null) child = await launchRedis(port, settings)
    },
    stop: async () => {
      client.disconnect()
      await kill()
    }
  }
}

/** Starts a cluster of one master, which has all slots. `directory`: for the file in which it keeps its state. */
export const startRedisCluster = async (directory: string): Promise<RedisServer> => {
  const redis = await startRedis([
    '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--dir', directory
  ])
  const client = new Redis(redis.url)
  await client.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
  await until('a cluster', async () => String(await client.cluster('INFO')).includes('cluster_state:ok'))
  client.disconnect()
  return { ...redis, url: redis.url.replace('redis:', 'redis+cluster:') }
}

/** Waits until the condition is true. Throws after `limitMs`, which is far above the time that a healthy run needs. */
export const until = async (what: string, isTrue: () => Promise<boolean>, limitMs = 20_000): Promise<void> => {
  const end = performance.now() + limitMs
  while (!await isTrue()) {
    if (performance.now() > end) throw new Error(`${what} did not happen within ${limitMs} ms`)
    await delay(20)
  }
}
