import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { startProxy } from '../torture/proxy.ts'
import { freePort } from './redis.ts'
import { until } from './until.ts'

/*
 * Servers that belong together. Each is reached through proxies only, and its own connections come from an address of
 * its own, so that it can be cut off from the other servers while its clients still reach it.
 */

/** A server of a group, which a test may kill, stop and cut off. */
export type Member = {
  /** Where everybody reaches it. */
  port: number
  busPort: number
  /** A client for looking inside, past the proxies. */
  client: Redis
  isAlive: () => boolean
  kill: () => Promise<void>
  /** Starts it again. */
  restart: (settings?: readonly string[]) => Promise<void>
  pause: () => void
  resume: () => void
  /** Whether the servers with these members' addresses can reach it, and it them. */
  isolate: (others: readonly Member[], isIsolated: boolean) => void
  /** Ends all connections of clients and servers to it. */
  cut: () => void
  address: string
  close: () => Promise<void>
}

/** Servers of which others take the place of a master that fails. */
export type RedisGroup = {
  /** What REDIS_URL has to be. */
  url: string
  members: readonly Member[]
  masters: () => Promise<Member[]>
  /** The master of a key, as the group sees it. */
  masterOf: (key: string) => Promise<Member>
  replicaOf: (master: Member) => Promise<Member>
  /** Whether the rest of the group can reach a server, and it them. Its clients can in any case. */
  isolate: (member: Member, isIsolated: boolean) => void
  /** Makes the replica of a master take its place, without any failure. */
  failOver: (master: Member) => Promise<void>
  /** Starts a server again, as a replica where it has been replaced. */
  restart: (member: Member) => Promise<void>
  /** Resolves once all servers agree, and each master has a replica that follows it. */
  settle: () => Promise<void>
  close: () => Promise<void>
}

export type MemberNeeds = {
  /** To write in. */
  folder: string
  /** Its number in the group, from 1. */
  index: number
  /** Options of redis-server, by the ports under which others reach it. */
  toSettings: (ports: { port: number, busPort: number, ownBusPort: number }) => readonly string[]
}

// The server dies with the test process, however that dies.
export const launchRedis = async (folder: string, args: readonly string[]): Promise<ChildProcess> => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'redis-server', ...args], {
    cwd: folder, stdio: ['ignore', 'pipe', 'inherit']
  })
  let output = ''
  for await (const chunk of child.stdout) {
    output += String(chunk)
    if (/Ready to accept connections|Sentinel ID is/.test(output)) {
      child.stdout.resume()
      return child
    }
  }
  throw new Error(`Redis did not start: ${output}`)
}

export const startMember = async ({ folder: parent, index, toSettings }: MemberNeeds): Promise<Member> => {
  const folder = join(parent, `redis-${index}`)
  mkdirSync(folder, { recursive: true })
  const address = `127.0.0.${10 + index}`
  const ownPort = await freePort()
  const ownBusPort = await freePort()
  const door = await startProxy(ownPort)
  const busDoor = await startProxy(ownBusPort)
  const args = [
    '--port', String(ownPort), '--bind', '127.0.0.1', '--bind-source-addr', address, '--save', '', '--appendonly', 'no',
    '--repl-diskless-sync-delay', '0', ...toSettings({ port: door.port, busPort: busDoor.port, ownBusPort })
  ]
  let child = await launchRedis(folder, args)
  const client = new Redis(ownPort, '127.0.0.1', {
    retryStrategy: () => 20, maxRetriesPerRequest: 0, commandTimeout: 30_000, autoResendUnfulfilledCommands: false
  })
  client.on('error', () => {})
  const isAlive = () => child.exitCode === null && child.signalCode === null
  const kill = async () => {
    if (!isAlive()) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
  const doors = [door, busDoor]
  const block = (addresses: readonly string[], isBlocked: boolean) => {
    for (const each of doors) each.block(addresses, isBlocked)
  }
  const member: Member & { block: typeof block } = {
    port: door.port,
    busPort: busDoor.port,
    client,
    isAlive,
    kill,
    restart: async (settings = []) => {
      child = await launchRedis(folder, [...args, ...settings])
      await until(() => client.status === 'ready', 'the connection to a server that was started again')
    },
    pause: () => { child.kill('SIGSTOP') },
    resume: () => { child.kill('SIGCONT') },
    block,
    isolate: (others, isIsolated) => {
      block(others.map(other => other.address), isIsolated)
      for (const other of others) (other as typeof member).block([address], isIsolated)
    },
    cut: () => { for (const each of doors) each.cut() },
    address,
    close: async () => {
      client.disconnect()
      await kill()
      await Promise.all(doors.map(each => each.close()))
    }
  }
  return member
}

/** Makes the replica of a master take its place, and returns once the master of `key` is another one. */
export const replaceByHand = async (group: RedisGroup, master: Member, key = ''): Promise<void> => {
  const isReplaced = async () => await group.masterOf(key).catch(() => master) !== master
  // A failover can be accepted and given up, for want of a replica that has just been heard.
  for (let askedAt = -Infinity; !await isReplaced(); await delay(20)) {
    if (performance.now() - askedAt < 5000) continue
    askedAt = performance.now()
    await group.failOver(master)
  }
}
