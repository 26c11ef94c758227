import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { createRedisCache, type RedisCache } from '../../src/cache/redis-cache.ts'
import { CacheUnusable } from '../../src/cache/status-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { freePort, replyMsMax } from '../helpers/redis.ts'
import { type Member, replaceByHand } from '../helpers/redis-members.ts'
import { startSentinelGroup } from '../helpers/redis-sentinels.ts'
import { until } from '../helpers/until.ts'
import { cacheConformance } from './conformance.ts'

const group = await startSentinelGroup(t.testdir())
t.teardown(group.close)

const sentinels = Array.from(group.url.matchAll(/:(\d+)/g), ([, port]) => ({ port: Number(port) }))

let incarnations = 0

const open = (t: Test, url: string) => {
  const incarnation = `i${incarnations++}`
  const errors: string[] = []
  const cache = createRedisCache({
    representation: 2,
    target: toRedisTarget(url),
    incarnation,
    random: () => 0,
    onError: ({ message }) => { errors.push(message) },
    replyMsMax
  })
  t.teardown(cache.close)
  return { ...cache, incarnation, errors }
}

const reasonOf = (cache: RedisCache): Promise<string> => cache.identify().then(() => 'none', (error: unknown) =>
  error instanceof CacheUnusable ? error.message : `for a time: ${(error as Error).message}`)

t.test('a cache behind Sentinels keeps the promises of a status cache', t => {
  cacheConformance(t, async t => {
    const cache = open(t, group.url)
    await cache.identify()
    const evict = async (epoch: string, jobId: string) => {
      const key = `js:${cache.incarnation}:${epoch}:${jobId}`
      await (await group.masterOf(key)).client.del(key)
    }
    return { cache, evict }
  })
  t.end()
})

t.test('the master is found while all Sentinels but one are away', async t => {
  const [one] = sentinels
  const cache = open(t, `redis+sentinel://127.0.0.1:${await freePort()},127.0.0.1:${one?.port}/jobs/2`)
  t.equal(await until(async () => await reasonOf(cache) === 'none', 'the master'), true)
})

t.test('a name that no Sentinel knows, and Sentinels that are away, are reported as such', async t => {
  t.equal(await reasonOf(open(t, group.url.replace('/jobs', '/others'))),
    'Redis cannot be used: the Sentinels know no master of the name others')
  const port = await freePort()
  t.match(await reasonOf(open(t, `redis+sentinel://127.0.0.1:${port}/jobs`)), /^for a time: failed to connect to sentinel .*Connection is closed/)
})

t.test('a client that looks for the master when a failover is announced finds the new one', async t => {
  const cache = open(t, group.url)
  await until(async () => await reasonOf(cache) === 'none', 'the master')
  const [master] = await group.masters() as [Member]
  for (const { door } of group.sentinels) door.delay('back', Infinity)
  await replaceByHand(group, master)
  master.cut()
  // It has waited in vain for the first one, and now asks the next.
  const [first] = sentinels
  await until(() => cache.errors.some(error => error.includes(`sentinel 127.0.0.1:${first?.port} `)), 'the next question')
  // The announcements of the failover arrive, each before the answer.
  for (const { door } of group.sentinels) door.delay('back', 0)
  t.equal(await until(async () => await reasonOf(cache) === 'none', 'the new master'), true)
})

t.test('a user at the Sentinels needs the rights that docs/operations.md names', async t => {
  const rights = ['resetchannels', '&+switch-master', '+subscribe', '+sentinel|get-master-addr-by-name', '+sentinel|sentinels']
  for (const { port } of sentinels) {
    const client = new Redis(port, '127.0.0.1')
    t.teardown(() => { client.disconnect() })
    await client.call('ACL', 'SETUSER', 'finder', 'reset', 'on', '>s3cret', ...rights)
    await client.call('ACL', 'SETUSER', 'default', 'off')
  }
  const members = group.members.map(({ client }) => client)
  const needed = ['info', 'mget', 'get', 'set', 'del', 'eval', 'evalsha']
  for (const client of members) {
    await client.call('ACL', 'SETUSER', 'cacher', 'reset', 'on', '>s3cret', '~js:*', ...needed.map(name => `+${name}`))
  }
  const withUser = group.url.replace('//', '//cacher:s3cret@')
  const cache = open(t, `${withUser}?sentinelUsername=finder&sentinelPassword=s3cret`)
  t.equal(await reasonOf(cache), 'none')
  t.equal((await cache.lease('e1', 'job-1', 'a')).kind, 'token')
  const listening = async () => {
    const client = new Redis(sentinels[0]?.port ?? 0, '127.0.0.1', { username: 'finder', password: 's3cret' })
    t.teardown(() => { client.disconnect() })
    return (await client.subscribe('+switch-master')) === 1
  }
  t.ok(await listening(), 'and may be told of a failover')
  t.match(await reasonOf(open(t, withUser)), /^Redis cannot be used: .*NOAUTH/)
  const wrong = await reasonOf(open(t, `${withUser}?sentinelUsername=finder&sentinelPassword=wr0ng`))
  t.match(wrong, /^Redis cannot be used: .*WRONGPASS/)
  t.notMatch(wrong, /wr0ng|s3cret/)
})
