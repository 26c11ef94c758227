import { type Member, type RedisGroup, startMember } from './redis-members.ts'
import { until } from './until.ts'

/** A cluster of three masters with a replica each, on free ports. */
export type RedisCluster = RedisGroup & {
  /** The master of a slot, as this server sees it, or the first one that answers. */
  masterOfSlot: (slot: number, asked?: Member) => Promise<Member>
  /** Moves a slot with its keys to another master. */
  moveSlot: (slot: number, to: Member) => Promise<void>
}

const nodeTimeoutMs = 800

const slotsCount = 16384

/** A range of slots, and the ports of its master and its replicas. */
type Range = { from: number, to: number, master: number, replicas: number[] }

const idOf = async ({ client }: Member): Promise<string> => String(await client.cluster('MYID'))

const rangesAt = async ({ client }: Member): Promise<Range[]> => (await client.cluster('SLOTS')).map(
  ([from, to, ...ports]) => {
    const [master = 0, ...replicas] = ports.map(([, port]) => port)
    return { from, to, master, replicas }
  }
)

const isSettled = async (members: readonly Member[]): Promise<boolean> => {
  const seen = await Promise.all(members.map(async member => {
    const [info, ranges, replication] = await Promise.all([
      member.client.cluster('INFO'), rangesAt(member), member.client.info('replication')
    ])
    const isFollowing = /role:master/.test(replication)
      ? /state=online/.test(replication) || !ranges.some(({ master }) => master === member.port)
      : /master_link_status:up/.test(replication)
    const layout = ranges.map(({ from, to, master, replicas }) => `${from}-${to}:${master}:${replicas.length}`)
    return /cluster_state:ok/.test(String(info)) && isFollowing && layout.sort().join(' ')
  }))
  const [first] = seen
  return typeof first === 'string' && seen.every(each => each === first) && !/:0(?: |$)/.test(first)
}

/** `folder`: to write in; `settings`: more options of redis-server. */
export const startRedisCluster = async (folder: string, settings: readonly string[] = []): Promise<RedisCluster> => {
  const members: Member[] = []
  for (let index = 1; index <= 6; index++) {
    members.push(await startMember({
      folder,
      index,
      toSettings: ({ port, busPort, ownBusPort }) => [
        '--cluster-enabled', 'yes', '--cluster-port', String(ownBusPort), '--cluster-announce-ip', '127.0.0.1',
        '--cluster-announce-port', String(port), '--cluster-announce-bus-port', String(busPort),
        '--cluster-node-timeout', String(nodeTimeoutMs), '--cluster-replica-validity-factor', '0', ...settings
      ]
    }))
  }
  const close = async () => { await Promise.all(members.map(member => member.close())) }
  const [first] = members as [Member]
  const masters = members.slice(0, 3)
  await Promise.all(masters.map(async ({ client }, index) => await client.call('CLUSTER', 'ADDSLOTSRANGE',
    Math.ceil(index * slotsCount / 3), Math.ceil((index + 1) * slotsCount / 3) - 1)))
  for (const { port, busPort } of members.slice(1)) {
    await first.client.call('CLUSTER', 'MEET', '127.0.0.1', port, busPort)
  }
  const knowsAll = async ({ client }: Member) => String(await client.cluster('NODES')).trim().split('\n').filter(
    line => !line.includes('handshake')).length === members.length
  await until(async () => (await Promise.all(members.map(knowsAll))).every(Boolean), 'the nodes to know each other')
  await Promise.all(members.slice(3).map(async ({ client }, index) => {
    const id = await idOf(masters[index] as Member)
    await until(() => client.cluster('REPLICATE', id).then(() => true, () => false), 'a replica')
  }))

  const withPort = (port: number): Member => {
    const member = members.find(each => each.port === port)
    if (member === undefined) throw new Error(`no member at ${port}`)
    return member
  }
  const settle = async () => {
    await until(() => isSettled(members.filter(each => each.isAlive())).catch(() => false), 'the cluster to settle')
  }
  const askAny = async <Value>(ask: (member: Member) => Promise<Value>): Promise<Value> =>
    await Promise.any(members.filter(each => each.isAlive()).map(ask))
  const masterOfSlot = async (slot: number, asked?: Member): Promise<Member> => {
    const ranges = await (asked === undefined ? askAny(rangesAt) : rangesAt(asked))
    return withPort(ranges.find(({ from, to }) => from <= slot && slot <= to)?.master ?? 0)
  }
  const replicaOf = async ({ port }: Member): Promise<Member> => {
    const ranges = await askAny(rangesAt)
    return withPort(ranges.find(({ master }) => master === port)?.replicas[0] ?? 0)
  }
  await settle()
  return {
    url: `redis+cluster://${members.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    members,
    masterOf: async key => await masterOfSlot(await askAny(({ client }) => client.cluster('KEYSLOT', key))),
    masterOfSlot,
    masters: async () => Array.from(new Set((await askAny(rangesAt)).map(({ master }) => master)), withPort),
    replicaOf,
    isolate: (member, isIsolated) => { member.isolate(members.filter(each => each !== member), isIsolated) },
    failOver: async master => {
      const replica = await replicaOf(master)
      // It is refused while the replica is not connected to its master.
      await until(() => replica.client.cluster('FAILOVER').catch(() => false), 'the failover to be accepted')
    },
    restart: member => member.restart(),
    moveSlot: async (slot, to) => {
      const from = await masterOfSlot(slot)
      const [fromId, toId] = [await idOf(from), await idOf(to)]
      await to.client.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId)
      await from.client.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId)
      const keys = await from.client.call('CLUSTER', 'GETKEYSINSLOT', slot, 10_000) as string[]
      if (keys.length > 0) await from.client.call('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys)
      await to.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId)
      await from.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId)
    },
    settle,
    close
  }
}
