import { join } from 'node:path'
import { startRedisCluster } from '../helpers/redis-cluster.ts'
import type { RedisGroup } from '../helpers/redis-members.ts'
import { startSentinelGroup } from '../helpers/redis-sentinels.ts'
import type { FaultWindow } from './history.ts'
import type { TorturedDatabase } from './database.ts'
import { groupFaults } from './group-faults.ts'
import { type NemesisNeeds, runNemesis, serverFaults } from './nemesis.ts'
import { type Proxy, startProxy } from './proxy.ts'
import { startTorturedRedis } from './redis-server.ts'
import { type ServiceProcess, startServiceProcess } from './service-process.ts'

/** What the processes share as their cache: one server, a group with Sentinels, or a cluster. */
export const redisKinds = ['server', 'sentinel', 'cluster'] as const
export type RedisKind = typeof redisKinds[number]

/** The processes, and what can be broken behind them. */
export type World = {
  nodes: ServiceProcess[]
  runNemesis: (needs: Omit<NemesisNeeds, 'victims' | 'faults'>, windows: FaultWindow[]) => Promise<void>
  close: () => Promise<void>
}

export type WorldNeeds = { processes: number, folder: string, entry: string, database: TorturedDatabase, redis: RedisKind }

const openServerWorld = async ({ processes, folder, entry, database }: WorldNeeds): Promise<World> => {
  const redis = await startTorturedRedis(join(folder, 'redis'))
  const nodes: ServiceProcess[] = []
  const proxies: Proxy[] = []
  for (let index = 0; index < processes; index++) {
    const proxy = await startProxy(redis.port)
    proxies.push(proxy)
    const redisUrl = `redis://127.0.0.1:${proxy.port}`
    nodes.push(await startServiceProcess({ index, databaseUrl: await database.urlOf(index), redisUrl, entry }))
  }
  return {
    nodes,
    runNemesis: (needs, windows) =>
      runNemesis({ ...needs, victims: { nodes, proxies, redis }, faults: [...serverFaults, ...database.faults] }, windows),
    close: async () => {
      await Promise.all(nodes.map(node => node.close()))
      await Promise.all(proxies.map(proxy => proxy.close()))
      await redis.close()
    }
  }
}

const openGroupWorld = async (
  startGroup: (folder: string) => Promise<RedisGroup>, { processes, folder, entry, database }: WorldNeeds
): Promise<World> => {
  const group = await startGroup(folder)
  const nodes: ServiceProcess[] = []
  for (let index = 0; index < processes; index++) {
    const databaseUrl = await database.urlOf(index)
    nodes.push(await startServiceProcess({ index, databaseUrl, redisUrl: group.url, entry }))
  }
  return {
    nodes,
    runNemesis: (needs, windows) =>
      runNemesis({ ...needs, victims: { nodes, group }, faults: [...groupFaults(group), ...database.faults] }, windows),
    close: async () => {
      await Promise.all(nodes.map(node => node.close()))
      await group.close()
    }
  }
}

export const openWorld = (needs: WorldNeeds): Promise<World> => {
  switch (needs.redis) {
    case 'server': return openServerWorld(needs)
    case 'sentinel': return openGroupWorld(startSentinelGroup, needs)
    case 'cluster': return openGroupWorld(startRedisCluster, needs)
  }
}
