import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

/** A Redis that can be killed, stopped, and started again with nothing or with an old snapshot. */
export type TorturedRedis = {
  port: number
  client: Redis
  kill: () => Promise<void>
  start: (from: 'empty' | 'snapshot') => Promise<void>
  /** Keeps what it holds now for a start from the snapshot. */
  keepSnapshot: () => Promise<void>
  signal: (signal: 'SIGSTOP' | 'SIGCONT') => void
  close: () => Promise<void>
}

const launch = async (port: number, folder: string): Promise<ChildProcess> => {
  // It dies with this process, however that dies.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'redis-server', '--port', String(port), '--bind', '127.0.0.1',
    '--save', '', '--appendonly', 'no', '--dir', folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  for await (const chunk of child.stdout) {
    output += String(chunk)
    if (output.includes('Ready to accept connections')) break
  }
  if (!output.includes('Ready to accept connections')) throw new Error(`Redis did not start: ${output}`)
  child.stdout.resume()
  return child
}

/** `folder` is its own, to write in. */
export const startTorturedRedis = async (folder: string): Promise<TorturedRedis> => {
  mkdirSync(folder, { recursive: true })
  const dump = join(folder, 'dump.rdb')
  const snapshot = join(folder, 'snapshot.rdb')
  const port = await freePort()
  let child = await launch(port, folder)
  const client = new Redis(port, '127.0.0.1', {
    retryStrategy: () => 20, maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false
  })
  client.on('error', () => {})

  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
  return {
    port,
    client,
    kill,
    start: async from => {
      rmSync(dump, { force: true })
      if (from === 'snapshot' && existsSync(snapshot)) copyFileSync(snapshot, dump)
      child = await launch(port, folder)
      // Not once(client, 'ready'): that fails with each connection that is refused.
      await until(() => client.status === 'ready', 'the connection to Redis')
    },
    keepSnapshot: async () => {
      await client.save()
      copyFileSync(dump, snapshot)
    },
    signal: signal => { child.kill(signal) },
    close: async () => {
      client.disconnect()
      await kill()
    }
  }
}
