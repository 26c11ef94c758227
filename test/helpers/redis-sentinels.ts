import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from './redis.ts'
import { type Proxy, startProxy } from '../torture/proxy.ts'
import { launchRedis, type Member, type RedisGroup, startMember } from './redis-members.ts'
import { until } from './until.ts'

const name = 'jobs'
const downAfterMs = 600

const sentinelAddress = '127.0.0.20'

// The default periods are made for networks: a server that comes back is told its role after eight seconds.
const periods = ['info-period', '300', 'publish-period', '150', 'ping-period', '150']

const startSentinel = async (folder: string, index: number, masterPort: number) => {
  const port = await freePort()
  const door = await startProxy(port)
  const path = join(folder, `sentinel-${index}.conf`)
  writeFileSync(path, [
    `port ${port}`, 'bind 127.0.0.1', `bind-source-addr ${sentinelAddress}`, 'sentinel announce-ip 127.0.0.1',
    `sentinel announce-port ${door.port}`, `sentinel monitor ${name} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${name} ${downAfterMs}`, `sentinel failover-timeout ${name} 2000`, ''
  ].join('\n'))
  const child = await launchRedis(folder, [path, '--sentinel'])
  const client = new Redis(port, '127.0.0.1', { retryStrategy: () => 20, commandTimeout: 30_000, enableReadyCheck: false })
  client.on('error', () => {})
  await client.call('SENTINEL', 'DEBUG', ...periods)
  return {
    door,
    client,
    close: async () => {
      client.disconnect()
      child.kill('SIGKILL')
      await door.close()
    }
  }
}

/** `door`: through which everybody reaches a Sentinel; `client`: past it. */
export type SentinelGroup = RedisGroup & { sentinels: readonly { door: Proxy, client: Redis }[] }

/**
 * Starts a master with a replica, and three Sentinels that watch them, on free ports. `folder`: to write in; `settings`:
 * more options of redis-server.
 */
export const startSentinelGroup = async (folder: string, settings: readonly string[] = []): Promise<SentinelGroup> => {
  const toSettings = ({ port }: { port: number }) =>
    ['--replica-announce-ip', '127.0.0.1', '--replica-announce-port', String(port), ...settings]
  const first = await startMember({ folder, index: 1, toSettings })
  const second = await startMember({
    folder, index: 2, toSettings: ports => [...toSettings(ports), '--replicaof', `127.0.0.1 ${first.port}`]
  })
  const members = [first, second]
  await until(async () => /state=online/.test(await first.client.info('replication')), 'the replica')
  const sentinels = await Promise.all([1, 2, 3].map(index => startSentinel(folder, index, first.port)))

  const portAt = async ({ client }: { client: Redis }): Promise<number> =>
    Number((await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name) as string[])[1])
  const master = async (): Promise<Member> => {
    const port = await portAt(sentinels[0] as { client: Redis })
    return members.find(member => member.port === port) as Member
  }
  const isSettled = async (): Promise<boolean> => {
    const found = await master()
    const states = await Promise.all(sentinels.map(async sentinel => {
      const flags = await sentinel.client.call('SENTINEL', 'MASTER', name) as string[]
      const valueOf = (field: string) => flags[flags.indexOf(field) + 1]
      return await portAt(sentinel) === found.port && valueOf('flags') === 'master' && valueOf('num-slaves') === '1' &&
        valueOf('num-other-sentinels') === '2'
    }))
    const [own, other] = await Promise.all([found, members.find(each => each !== found) as Member].map(
      ({ client }) => client.info('replication')))
    return states.every(Boolean) && /role:master[^]*state=online/.test(own ?? '') && /master_link_status:up/.test(other ?? '')
  }
  const settle = async () => { await until(() => isSettled().catch(() => false), 'the group to settle') }
  await settle()
  return {
    sentinels,
    url: `redis+sentinel://${sentinels.map(({ door }) => `127.0.0.1:${door.port}`).join(',')}/${name}`,
    members,
    masters: async () => [await master()],
    masterOf: master,
    replicaOf: found => Promise.resolve(members.find(member => member !== found) as Member),
    isolate: (member, isIsolated) => {
      member.isolate([...members.filter(each => each !== member), { ...member, address: sentinelAddress }], isIsolated)
    },
    failOver: async () => {
      // Until the Sentinel has seen that the replica follows.
      await until(async () => await sentinels[0]?.client.call('SENTINEL', 'FAILOVER', name).then(
        () => true, () => false), 'the Sentinel to begin')
    },
    restart: async member => {
      const { port } = await master()
      await member.restart(port === member.port ? ['--replicaof', 'no one'] : ['--replicaof', `127.0.0.1 ${port}`])
    },
    settle,
    close: async () => {
      await Promise.all([...sentinels, ...members].map(each => each.close()))
    }
  }
}
