import t, { type Test } from 'tap'
import { createRedisCache, type RedisCache } from '../../src/cache/redis-cache.ts'
import { CacheUnusable } from '../../src/cache/status-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { freePort, replyMsMax, startRedis } from '../helpers/redis.ts'
import { startRedisCluster } from '../helpers/redis-cluster.ts'
import { type Member, replaceByHand } from '../helpers/redis-members.ts'
import { until } from '../helpers/until.ts'
import { cacheConformance, entryAt } from './conformance.ts'

const e = 'e1'
let incarnations = 0

type Opened = RedisCache & { incarnation: string, losses: string[] }

const create = (t: Test, url: string): Opened => {
  const incarnation = `i${incarnations++}`
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(url), incarnation, random: () => 0, onError: () => {}, replyMsMax
  })
  t.teardown(cache.close)
  const losses: string[] = []
  cache.onDisconnect(reason => { losses.push(reason) })
  return { ...cache, incarnation, losses }
}

const cluster = await startRedisCluster(t.testdir())
t.teardown(cluster.close)

const open = async (t: Test): Promise<Opened> => {
  const cache = create(t, cluster.url)
  await cache.identify()
  return cache
}

const reasonOf = (cache: RedisCache): Promise<string> => cache.identify().then(() => 'none', (error: unknown) =>
  error instanceof CacheUnusable ? error.message : `for a time: ${(error as Error).message}`)

const jobIds = Array.from({ length: 12 }, (_, index) => `job-${index}`)

t.test('a cache in a cluster keeps the promises of a status cache', t => {
  cacheConformance(t, async t => {
    const cache = await open(t)
    const evict = async (epoch: string, jobId: string) => {
      const key = `js:${cache.incarnation}:${epoch}:${jobId}`
      await (await cluster.masterOf(key)).client.del(key)
    }
    return { cache, evict }
  })
  t.end()
})

t.test('the cells of an epoch are spread over all masters, and read together', async t => {
  const cache = await open(t)
  await Promise.all(jobIds.map(async jobId => {
    await cache.lease(e, jobId, 'a')
    await cache.expose(e, entryAt(1, { jobId }), 'a')
  }))
  const keys = await Promise.all((await cluster.masters()).map(({ client }) => client.keys(`js:${cache.incarnation}:*`)))
  t.ok(keys.length === 3 && keys.every(found => found.length > 0), 'each master has some')
  const found = await cache.getMany(e, jobIds)
  t.same(found.map(lookup => lookup.kind === 'hit' && lookup.entry.jobId), jobIds)
})

t.test('the id stays the same for all processes until a master changes', async t => {
  const [one, other] = [await open(t), await open(t)]
  const id = await one.identify()
  t.equal(await other.identify(), id)
  t.equal(await one.identify(), id)
  t.same(one.losses, [])
})

/** What must end the use of the cells: the loss is reported first, and what is found then has another id. */
const changes: Record<string, { make: (master: Member) => Promise<void>, mend?: (master: Member) => Promise<void> }> = {
  'a lost connection to any master': { make: async master => { master.cut() } },
  'a master that was a replica for a moment': {
    make: async master => {
      const replica = await cluster.replicaOf(master)
      const ofSlot = { ...cluster, masterOf: () => cluster.masterOfSlot(0) }
      await replaceByHand(ofSlot, master)
      await cluster.settle()
      await replaceByHand(ofSlot, replica)
    }
  },
  'a slot that is moved': {
    make: async master => {
      const other = (await cluster.masters()).find(each => each !== master) as Member
      await cluster.moveSlot(0, other)
    },
    mend: master => cluster.moveSlot(0, master)
  }
}

for (const [name, { make, mend = () => Promise.resolve() }] of Object.entries(changes)) {
  t.test(`${name} ends the use of all cells`, async t => {
    await cluster.settle()
    const cache = await open(t)
    const id = await cache.identify()
    const master = await cluster.masterOfSlot(0)
    await make(master)
    await until(async () => cache.losses.length > 0 || (await reasonOf(cache), false), 'the loss to be reported')
    t.equal(cache.losses.length, 1, 'once')
    await t.rejects(cache.lease(e, 'job-1', 'a'), /not known/, 'nothing is read or written until the masters are known')
    await cluster.settle()
    const found = await until(() => cache.identify().catch(() => false as const), 'the cluster to be usable')
    if (name.includes('connection')) t.equal(found, id, 'the same masters')
    else t.not(found, id, 'other masters')
    await mend(master)
  })
}

t.test('a command that meets a slot on its way, or another master, fails and is not sent elsewhere', async t => {
  await cluster.settle()
  const cache = await open(t)
  const key = `js:${cache.incarnation}:${e}:job-1`
  const from = await cluster.masterOf(key)
  const [to] = (await cluster.masters()).filter(each => each !== from) as [Member]
  const slot = await from.client.cluster('KEYSLOT', key)
  const [fromId, toId] = await Promise.all([from, to].map(async ({ client }) => String(await client.cluster('MYID'))))
  await to.client.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId ?? '')
  await from.client.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId ?? '')
  await t.rejects(cache.lease(e, 'job-1', 'a'), /a slot of the cluster is being moved/)
  t.match(await reasonOf(cache), 'for a time: a slot of the cluster is being moved')
  for (const { client } of [from, to]) await client.call('CLUSTER', 'SETSLOT', slot, 'STABLE')
  await until(() => cache.identify().catch(() => false as const), 'the cluster to be usable')
  await cluster.moveSlot(slot, to)
  await t.rejects(cache.lease(e, 'job-1', 'a'), /a slot of the cluster has another master/)
  t.equal(await to.client.exists(key), 0)
  t.same(cache.losses, ['a slot of the cluster is being moved', 'a slot of the cluster has another master'])
  await cluster.moveSlot(slot, from)
})

const neededOfCluster = ['info', 'mget', 'get', 'set', 'del', 'eval', 'evalsha', 'cluster|info', 'cluster|slots', 'cluster|nodes']

t.test('a user needs the commands that docs/operations.md names, and the reason names one that is missing', async t => {
  await cluster.settle()
  const urlOf = (userInfo: string) => cluster.url.replace('//', `//${userInfo}@`)
  const allow = async (user: string, commands: readonly string[]) => {
    for (const { client } of cluster.members) {
      await client.call('ACL', 'SETUSER', user, 'reset', 'on', '>s3cret', '~js:*', ...commands.map(name => `+${name}`))
    }
  }
  await allow('least', neededOfCluster)
  const cache = create(t, urlOf('least:s3cret'))
  t.equal(await reasonOf(cache), 'none')
  t.same(await cache.lease(e, 'job-1', 'a'), { kind: 'token', token: 'a' })
  for (const missing of ['cluster|slots', 'cluster|nodes', 'evalsha', 'del']) {
    await allow('less', neededOfCluster.filter(name => name !== missing))
    const reason = await reasonOf(create(t, urlOf('less:s3cret')))
    t.match(reason, /^Redis cannot be used: .*(NOPERM|can't run this command)/, missing)
    t.notMatch(reason, /s3cret/)
  }
  t.match(await reasonOf(create(t, urlOf('least:wrong'))), /^Redis cannot be used: WRONGPASS/)
})

t.test('a server that is no cluster, a cluster without all slots and one that is away are reported as such', async t => {
  const single = await startRedis(t)
  t.match(await reasonOf(create(t, single.url.replace('redis:', 'redis+cluster:'))),
    /^Redis cannot be used: ERR This instance has cluster support disabled/)
  const partial = await startRedis(t, [
    '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--dir', t.testdir()
  ])
  t.equal(await reasonOf(create(t, partial.url.replace('redis:', 'redis+cluster:'))), 'for a time: the cluster is down')
  await partial.client.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16000)
  await partial.client.config('SET', 'cluster-require-full-coverage', 'no')
  await until(async () => /cluster_state:ok/.test(String(await partial.client.cluster('INFO'))), 'the cluster')
  const cache = create(t, partial.url.replace('redis:', 'redis+cluster:'))
  t.equal(await reasonOf(cache), 'for a time: some slots of the cluster have no master')
  await partial.client.call('CLUSTER', 'ADDSLOTSRANGE', 16001, 16383)
  await t.resolves(until(() => cache.identify().catch(() => false as const), 'the cluster'), 'a node that does not know its own host')
  await partial.kill()
  await until(() => cache.losses.length > 0, 'the loss to be reported')
  t.match(await reasonOf(cache), /^for a time: connect ECONNREFUSED/)
})
