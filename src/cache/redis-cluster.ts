import { randomUUID } from 'node:crypto'
// @ts-expect-error: the package has no types.
import untypedSlotOf from 'cluster-key-slot'
import { Redis, type RedisOptions } from 'ioredis'
import type { RedisHost, RedisTarget } from '../config/redis-url.ts'
import { reasonOf } from '../errors.ts'
import {
  hasMovingSlots, isComplete, type SlotRange, slotsCount, toIdentity, toLayout, toRanges
} from './cluster-layout.ts'
import {
  type CellCommand, defineScripts, field, type RedisConnection, type RedisConnectionNeeds, redisOptions, send, sendMany,
  toRunId, toUnusable, tryCommands, type WithTimeout
} from './redis-commands.ts'

/*
 * A Redis Cluster as the place of cells. A replica that is promoted may lack the last writes, and a master that was
 * replaced answers for some time more: a client that follows redirects, as most do, would find old cells in both. So
 * this one follows nothing. All masters together are one server, whose run id is a hash of the slots and the run of
 * each:
 *
 *   - The map of slots is asked from one node, and each master in it is then asked for its run over the connection that
 *     its commands will take. All must be masters, agree on the slots, and move none.
 *   - The map stays as it is until it is lost as a whole, and only then is another one made. A connection that ends is
 *     not opened again, and a redirect is a failure: both lose the map.
 *   - Losing the map ends the epoch, in the same turn of the event loop. Two processes with the same run id therefore
 *     send the commands for a cell to the same run of the same server, and a cell of an epoch is never in two places.
 */

type ClusterTarget = Extract<RedisTarget, { kind: 'redis-cluster' }>

type Master = { node: string, client: Redis, probeKey: string }

type SlotMap = {
  masters: readonly Master[]
  bySlot: readonly Master[]
  ranges: readonly SlotRange[]
  runId: string
  /** Why it may not be used any more. */
  lostBy: string | null
}

const toSlot = untypedSlotOf as (key: string) => number

// A connection that ends stays so.
const toOptions = ({ credentials, tls, family }: ClusterTarget) => ({
  ...redisOptions,
  ...credentials,
  family,
  retryStrategy: () => null,
  reconnectOnError: () => false,
  ...tls ? { tls: {} } : {}
}) satisfies RedisOptions

const explanations = {
  MOVED: 'a slot of the cluster has another master',
  ASK: 'a slot of the cluster is being moved',
  TRYAGAIN: 'a slot of the cluster is being moved',
  CLUSTERDOWN: 'the cluster is down'
}

// What a master says where it does not serve the slot of a key.
const explain = (error: unknown): unknown => {
  const [, kind] = (error instanceof Error && /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/.exec(error.message)) || []
  return kind === undefined ? error : new Error(explanations[kind as keyof typeof explanations], { cause: error })
}

/** Opens connections that are not opened again once they end. */
const createConnect = (target: ClusterTarget, { scripts, onError }: RedisConnectionNeeds) => {
  const options = toOptions(target)
  return async ({ host, port }: RedisHost): Promise<Redis> => {
    const client = new Redis({ ...options, host, port })
    let lastError: Error | undefined
    client.on('error', (error: Error) => {
      lastError = error
      onError(error)
    })
    defineScripts(client, scripts)
    await client.connect().catch((error: unknown) => {
      client.disconnect()
      throw lastError ?? error
    })
    return client
  }
}

const requireHealth = (clusterInfo: string): void => {
  if (field(clusterInfo, 'cluster_state') !== 'ok') throw new Error('the cluster is down')
}

/** Asks each node that is known for the slots, and takes the first answer of one that sees the cluster whole. */
const askForRanges = async (
  nodes: readonly RedisHost[], connect: (node: RedisHost) => Promise<Redis>
): Promise<SlotRange[]> => {
  const answers = nodes.map(async node => {
    const client = await connect(node)
    try {
      requireHealth(await client.cluster('INFO'))
      const ranges = toRanges(await client.cluster('SLOTS'), node.host)
      if (!isComplete(ranges)) throw new Error('some slots of the cluster have no master')
      return ranges
    } finally {
      client.disconnect()
    }
  })
  return await Promise.any(answers).catch((error: AggregateError) => { throw error.errors.at(-1) })
}

/** Connects to the master of each range. */
const openMap = async (
  ranges: readonly SlotRange[], connect: (node: RedisHost) => Promise<Redis>, probePrefix: string
): Promise<SlotMap> => {
  const addresses = new Map(ranges.map(({ node, address }) => [node, address]))
  const opened = await Promise.allSettled(Array.from(addresses, async ([node, address]): Promise<Master> =>
    ({ node, client: await connect(address), probeKey: '' })))
  const masters = opened.flatMap(each => each.status === 'fulfilled' ? [each.value] : [])
  const failed = opened.find(each => each.status === 'rejected')
  if (failed !== undefined) {
    for (const { client } of masters) client.disconnect()
    throw failed.reason
  }
  const bySlot = new Array<Master>(slotsCount)
  for (const { from, to, node } of ranges) bySlot.fill(masters.find(each => each.node === node) as Master, from, to + 1)
  // Commands are tried with a key that no other process uses and that this master serves.
  while (masters.some(({ probeKey }) => probeKey === '')) {
    const key = `${probePrefix}${randomUUID()}`
    const master = bySlot[toSlot(key)]
    if (master?.probeKey === '') master.probeKey = key
  }
  return { masters, bySlot, ranges, runId: '', lostBy: null }
}

/** Asks all masters which runs they are, and whether they agree with the map. */
const askRunId = async ({ masters, ranges }: SlotMap, withTimeout: WithTimeout): Promise<string> => {
  const layout = toLayout(ranges)
  const runIds = await Promise.all(masters.map(async ({ node, client, probeKey }): Promise<[string, string]> => {
    const [info, clusterInfo, slots, nodes] = await Promise.all([
      withTimeout(client.info()), withTimeout(client.cluster('INFO')), withTimeout(client.cluster('SLOTS')),
      withTimeout(client.cluster('NODES'))
    ])
    if (field(info, 'role') !== 'master') throw new Error('a master of the cluster has become a replica')
    requireHealth(clusterInfo)
    if (toLayout(toRanges(slots)) !== layout) throw new Error(explanations.MOVED)
    if (hasMovingSlots(String(nodes))) throw new Error(explanations.ASK)
    await tryCommands(client, probeKey, withTimeout)
    return [node, toRunId(info)]
  }))
  return toIdentity(ranges, new Map(runIds))
}

const runOnMasters = async <Cell extends { key: string }>(
  { bySlot }: SlotMap, toCommand: (cells: readonly Cell[]) => CellCommand, cells: readonly Cell[]
): Promise<unknown[]> => {
  const masterOf = ({ key }: Cell): Master => bySlot[toSlot(key)] as Master
  const [first] = cells
  if (first !== undefined && cells.length === 1) return await send(masterOf(first).client, toCommand(cells))
  const replies = new Array<unknown>(cells.length)
  const groups = Map.groupBy(cells.map((cell, index) => ({ cell, index })), ({ cell }) => masterOf(cell))
  await Promise.all(Array.from(groups, async ([{ client }, group]) => {
    const found = await sendMany(client, group.map(({ cell }) => toCommand([cell])))
    for (const [place, { index }] of group.entries()) replies[index] = found[place]
  }))
  return replies
}

/** Keeps the one map that commands may use, until it is lost. */
const createMapKeeper = (target: ClusterTarget, needs: RedisConnectionNeeds) => {
  const connect = createConnect(target, needs)
  const listeners: Array<(reason: string) => void> = []
  let nodes = target.hosts
  let map: SlotMap | null = null
  let isClosed = false

  const lose = (lost: SlotMap, reason: string): void => {
    if (lost.lostBy !== null) return
    lost.lostBy = reason
    for (const { client } of lost.masters) client.disconnect()
    if (map !== lost) return
    map = null
    for (const listener of listeners) listener(reason)
  }

  const open = async (): Promise<SlotMap> => {
    const opened = await openMap(await askForRanges(nodes, connect), connect, needs.probePrefix)
    for (const { client } of opened.masters) {
      client.on('close', () => { lose(opened, 'connection lost') })
      if (client.status !== 'ready') lose(opened, 'connection lost')
    }
    return opened
  }

  const identify = async (): Promise<string> => {
    const current = map ?? await open()
    try {
      const runId = await askRunId(current, needs.withTimeout)
      if (current.lostBy !== null || isClosed) throw new Error(current.lostBy ?? 'closed')
      if (map === null) {
        current.runId = runId
        map = current
        nodes = [...target.hosts, ...new Map(current.ranges.map(({ node, address }) => [node, address])).values()]
      }
      if (runId !== current.runId) throw new Error('a master of the cluster has been replaced')
      return runId
    } catch (error) {
      const explained = toUnusable(explain(error))
      lose(current, reasonOf(explained))
      throw explained
    }
  }

  return {
    current: () => map,
    lose,
    identify,
    onLoss: (listener: (reason: string) => void) => { listeners.push(listener) },
    close: () => {
      isClosed = true
      listeners.length = 0
      if (map !== null) lose(map, 'closed')
    }
  }
}

/** Connects to a cluster. */
export const connectCluster = (target: ClusterTarget, needs: RedisConnectionNeeds): RedisConnection => {
  const { current, lose, identify, onLoss, close } = createMapKeeper(target, needs)
  // One after the other, so that no map takes the place of another one.
  let last: Promise<unknown> = Promise.resolve()
  return {
    run: async (toCommand, cells) => {
      const map = current()
      if (map === null) throw new Error('the masters of the cluster are not known')
      try {
        return await runOnMasters(map, toCommand, cells)
      } catch (error) {
        const explained = explain(error)
        lose(map, reasonOf(explained))
        throw explained
      }
    },
    identify: () => {
      const next = last.then(identify)
      last = next.catch(() => {})
      return next.catch((error: unknown) => { throw toUnusable(error) })
    },
    onDisconnect: onLoss,
    close: () => {
      close()
      return Promise.resolve()
    }
  }
}
