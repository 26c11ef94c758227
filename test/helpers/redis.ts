import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { Redis } from 'ioredis'
import type { Test } from 'tap'

/** How long a command of the cache may take, where the test is not about that: a busy machine exceeds the service's 100 ms. */
export const replyMsMax = 30_000

/** Keeps a port from other test processes until this one ends. Nothing here listens on UDP, whose ports are others. */
const reserve = async (port: number): Promise<boolean> => {
  const socket = createSocket('udp4').unref()
  socket.bind({ port, address: '127.0.0.1', exclusive: true })
  return await once(socket, 'listening').then(() => true, () => false)
}

/**
 * A port on which nobody listens, and that no other test process is given. Linux gives those from 32768 on to whoever
 * connects, so that another process could have taken one of them before it is used.
 */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = randomInt(10_000, 32_768)
    if (!await reserve(port)) continue
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(() => true, () => false)
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

/** A Redis of the test's own, which it may kill. */
export type PrivateRedis = {
  url: string
  port: number
  process: () => ChildProcess
  /** A client for looking inside. */
  client: Redis
  kill: () => Promise<void>
  /** Starts it again, empty, on the same port. */
  restart: () => Promise<void>
}

// The server dies with the test process, however that dies.
const launch = async (port: number, settings: readonly string[]): Promise<ChildProcess> => {
  const child = spawn('setpriv', [
    '--pdeathsig', 'KILL', 'redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly',
    'no', ...settings
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of child.stdout) {
    if (String(line).includes('Ready to accept connections')) break
  }
  child.stdout.resume()
  return child
}

/** `settings`: more options of redis-server, like `--databases 1`. */
export const startRedis = async (t: Test, settings: readonly string[] = []): Promise<PrivateRedis> => {
  const port = await freePort()
  let child = await launch(port, settings)
  const client = new Redis(port, '127.0.0.1', { retryStrategy: () => 20 })
  client.on('error', () => {})
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await exit
  }
  t.teardown(async () => {
    client.disconnect()
    await kill()
  })
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    process: () => child,
    client,
    kill,
    restart: async () => { child = await launch(port, settings) }
  }
}
