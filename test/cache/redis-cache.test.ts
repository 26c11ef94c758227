import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { encodeEntry } from '../../src/cache/entry-codec.ts'
import { createRedisCache, type RedisCache } from '../../src/cache/redis-cache.ts'
import { redisOptions } from '../../src/cache/redis-commands.ts'
import { CacheUnusable } from '../../src/cache/status-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { freePort, type PrivateRedis, replyMsMax, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { absent, cacheConformance, entryAt } from './conformance.ts'

const e = 'e1'
let incarnations = 0

const open = async (
  t: Test, redis: { url: string }, { random = () => 0, patience = { replyMsMax } }: { random?: () => number, patience?: object } = {}
): Promise<RedisCache & { incarnation: string }> => {
  const incarnation = `i${incarnations++}`
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(redis.url), incarnation, random, onError: () => {}, ...patience
  })
  t.teardown(cache.close)
  await cache.identify().catch(() => {})
  return { ...cache, incarnation }
}

t.test('with a Redis', async t => {
  const redis: PrivateRedis = await startRedis(t)

  t.test('keeps the promises of a status cache', t => {
    cacheConformance(t, async t => {
      const cache = await open(t, redis)
      const evict = async (epoch: string, jobId: string) => {
        await redis.client.del(`js:${cache.incarnation}:${epoch}:${jobId}`)
      }
      return { cache, evict }
    })
    t.end()
  })

  t.test('keys name incarnation, epoch and job, and expire at their time', async t => {
    const cache = await open(t, redis, { random: () => 0.5 })
    const key = (jobId: string) => `js:${cache.incarnation}:${e}:${jobId}`
    const ttlOf = async (jobId: string) => await redis.client.pttl(key(jobId))
    /** Fails unless what `fill` writes is kept for so long: less the time since, however much a busy machine takes. */
    const isKeptFor = async (ms: number, jobId: string, fill: () => Promise<unknown>) => {
      const before = performance.now()
      await fill()
      const ttlMs = await ttlOf(jobId)
      const passedMs = performance.now() - before
      t.ok(ttlMs >= ms - passedMs - 1 && ttlMs <= ms, `${jobId}: ${ttlMs} of ${ms} ms, after ${passedMs} ms`)
    }
    await isKeptFor(5000, 'token', () => cache.lease(e, 'token', 'a'))
    const entries = [
      [entryAt(1, { jobId: 'done', state: 'succeeded' }), 3_240_000], [{ ...absent, jobId: 'none' }, 2700],
      [entryAt(1, { jobId: 'live' }), 1800]
    ] as const
    for (const [entry, bound] of entries) {
      await cache.lease(e, entry.jobId, 'a')
      await isKeptFor(bound, entry.jobId, () => cache.expose(e, entry, 'a'))
    }
    await cache.expose(e, entryAt(2, { jobId: 'live', state: 'failed' }), null)
    t.ok(await ttlOf('live') > 3_000_000, 'a newer entry brings its own time')
  })

  t.test('bytes of another program in a cell are no entry, are deleted, and block nothing', async t => {
    const cache = await open(t, redis)
    const key = `js:${cache.incarnation}:${e}:job-1`
    const good = encodeEntry(entryAt(5), 2)
    const planted = [
      'garbage', '', good.slice(0, -1), `${good} `, good.replaceAll('job-1', 'job-2'),
      good.replace('running', 'nostate'), good.replace('E5', 'Ex'),
      good.replace('E5', 'E'), good.replace('{"jobId"', '{"jobNo"'), good.replace(' 11 ', ' ')
    ]
    for (const bytes of planted) {
      await redis.client.set(key, bytes)
      t.same(await cache.get(e, 'job-1'), { kind: 'miss' }, JSON.stringify(bytes))
      await cache.lease(e, 'job-1', 'a')
      const lease = await cache.lease(e, 'job-1', 'b')
      t.equal(lease.kind, 'token')
      await cache.expose(e, entryAt(1), lease.kind === 'token' ? lease.token : null)
      t.match(await cache.get(e, 'job-1'), { entry: { version: 1 } })
    }
  })

  t.test('an exposure deletes bytes of another program', async t => {
    const cache = await open(t, redis)
    const key = `js:${cache.incarnation}:${e}:job-1`
    await redis.client.set(key, 'garbage')
    await cache.expose(e, entryAt(1), null)
    t.equal(await redis.client.exists(key), 0)
  })

  t.test('identifies the server, and rejects one that cannot be used', async t => {
    const cache = await open(t, redis)
    const info = await redis.client.info('server')
    const [runId] = (await cache.identify()).split('/')
    t.ok(info.includes(`run_id:${runId}\r`))
    await redis.client.replicaof('127.0.0.1', String(await freePort()))
    await t.rejects(cache.identify(), /not a master/)
    await redis.client.replicaof('NO', 'ONE')
    await redis.client.config('SET', 'maxmemory', '1')
    await t.rejects(cache.identify(), /OOM/)
    await redis.client.config('SET', 'maxmemory', '0')
    await t.resolves(cache.identify())
  })
})

t.test('commands to a Redis that is away fail at once, and the cache comes back by itself', async t => {
  const redis = await startRedis(t)
  const cache = await open(t, redis)
  let reason = ''
  cache.onDisconnect(text => { reason = text })
  await cache.lease(e, 'job-1', 'a')
  await redis.kill()
  await until(() => reason !== '', 'the lost connection to be reported')
  await t.rejects(async () => await cache.get(e, 'job-1'))
  await t.rejects(cache.lease(e, 'job-1', 'a'))
  await t.rejects(cache.expose(e, entryAt(1), null))
  await t.rejects(cache.getMany(e, ['job-1', 'job-2']))
  await t.rejects(cache.exposeMany(e, [entryAt(1), entryAt(1, { jobId: 'job-2' })]))
  await redis.restart()
  await until(async () => await cache.identify().then(() => true, () => false), 'the connection')
  t.same(await cache.lease(e, 'job-1', 'b'), { kind: 'token', token: 'b' }, 'back, and empty')
})

t.test('many commands are sent before the first is answered', async t => {
  const redis = await startRedis(t)
  const gate = { awaited: 0, seen: 0, held: [] as Array<() => void> }
  // Answers nothing until it has got as many commands as are awaited.
  const proxy = createServer(client => {
    const server = connect(redis.port, '127.0.0.1')
    client.on('data', bytes => {
      gate.seen += String(bytes).split('js:').length - 1
      server.write(bytes)
      if (gate.seen >= gate.awaited) for (const answer of gate.held.splice(0)) answer()
    })
    server.on('data', bytes => {
      const answer = () => { client.write(bytes) }
      if (gate.seen >= gate.awaited) answer()
      else gate.held.push(answer)
    })
    client.on('close', () => { server.destroy() })
    server.on('close', () => { client.destroy() })
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => { proxy.close() })
  const cache = await open(t, { url: `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}` })
  const jobIds = ['job-1', 'job-2', 'job-3']
  const await3 = () => { Object.assign(gate, { awaited: 3, seen: 0 }) }
  await3()
  t.equal((await cache.getMany(e, jobIds)).length, 3)
  await3()
  await t.resolves(cache.exposeMany(e, jobIds.map(jobId => entryAt(1, { jobId }))))
})

t.test('a command to a Redis that hangs times out', async t => {
  const redis = await startRedis(t)
  const cache = await open(t, redis, { patience: {} })
  redis.process().kill('SIGSTOP')
  await t.rejects(async () => await cache.get(e, 'job-1'), /timed out/)
  redis.process().kill('SIGCONT')
})

t.test('a reply that has arrived, but could not be read in time, is used', async t => {
  const redis = await startRedis(t)
  const cache = await open(t, redis, { patience: {} })
  const found = cache.get(e, 'job-1')
  // The command is on its way; then this process does something else for longer than a reply may take.
  await new Promise(resolve => { setImmediate(resolve) })
  const end = performance.now() + 300
  while (performance.now() < end);
  t.match(await found, { kind: 'miss' })
})

const reasonOf = async (t: Test, url: string): Promise<string> => {
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(url), incarnation: 'i', random: () => 0, onError: () => {}, replyMsMax
  })
  t.teardown(cache.close)
  return await cache.identify().then(
    () => 'none',
    (error: unknown) => error instanceof CacheUnusable ? error.message : `for a time: ${String(error)}`
  )
}

t.test('a Redis that only its operator can make usable is not used, and the reason is named', async t => {
  // The path of a socket has at most 107 bytes.
  const directory = mkdtempSync(join(tmpdir(), 'redis-'))
  t.teardown(() => { rmSync(directory, { recursive: true }) })
  const socket = join(directory, 'socket')
  const redis = await startRedis(t, ['--databases', '2', '--unixsocket', socket])
  const of = (userInfo: string, path = '') => redis.url.replace('//', `//${userInfo}`) + path
  const users = {
    'no-scripts': ['~*', '+@all', '-@scripting'],
    'no-deletes': ['~*', '+@all', '-del'],
    'other-keys': ['~other:*', '+@all'],
    'no-info': ['~*', '+@all', '-info']
  }
  for (const [user, rules] of Object.entries(users)) {
    await redis.client.call('ACL', 'SETUSER', user, 'on', '>s3cret', ...rules)
    const reason = await reasonOf(t, of(`${user}:s3cret@`))
    t.match(reason, /^Redis cannot be used: .*(NOPERM|can't run this command)/, user)
    t.notMatch(reason, /s3cret/)
  }
  const needed = ['info', 'select', 'mget', 'get', 'set', 'del', 'eval', 'evalsha']
  const allow = (user: string, commands: readonly string[]) => redis.client.call(
    'ACL', 'SETUSER', user, 'reset', 'on', '>s3cret', '~js:*', ...commands.map(name => `+${name}`)
  )
  await allow('least', needed)
  t.equal(await reasonOf(t, of('least:s3cret@', '/1')), 'none', 'the commands that docs/operations.md names suffice')
  for (const missing of needed) {
    await allow('less', needed.filter(name => name !== missing))
    t.match(await reasonOf(t, of('less:s3cret@', '/1')), /NOPERM|can't run this command/, `${missing} is needed`)
  }
  t.match(await reasonOf(t, of('no-scripts:wrong@')), /^Redis cannot be used: WRONGPASS/)
  t.match(await reasonOf(t, of('', '/2')), /^Redis cannot be used: ERR DB index is out of range/)
  t.equal(await reasonOf(t, of('', '/1')), 'none')
  t.equal(await reasonOf(t, `unix://${socket}?db=1`), 'none')
  await redis.client.config('SET', 'requirepass', 'needed')
  t.match(await reasonOf(t, of('')), /^Redis cannot be used: NOAUTH/)
  t.equal(await reasonOf(t, of(':needed@')), 'none')
})

t.test('a Redis in cluster mode is not used as a single server', async t => {
  const redis = await startRedis(t, [
    '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--dir', t.testdir()
  ])
  t.equal(await reasonOf(t, redis.url), 'Redis cannot be used: it runs in cluster mode, so REDIS_URL must begin with redis+cluster://')
})

t.test('client settings: nothing waits for a connection, nothing is sent twice', t => {
  t.match(redisOptions, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    socketTimeout: 1000,
    connectTimeout: 1000,
    enableAutoPipelining: false
  })
  for (const text of ['READONLY x', 'MASTERDOWN x', 'LOADING x']) {
    t.equal(redisOptions.reconnectOnError(new Error(text)), true)
  }
  t.equal(redisOptions.reconnectOnError(new Error('ERR x')), false)
  t.equal(redisOptions.retryStrategy(100), 1000)
  t.end()
})
