import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Client } from '../helpers/client.ts'
import { startRedisCluster } from '../helpers/redis-cluster.ts'
import { type Member, type RedisGroup, replaceByHand } from '../helpers/redis-members.ts'
import { startSentinelGroup } from '../helpers/redis-sentinels.ts'
import { type Service, startService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'
import { startPollers } from './pollers.ts'

/*
 * Two services on one database, and a Redis in which another server takes the place of a master. Pollers ask both all
 * the time, and must never be shown an older version than any of them was shown before. The jobs have ended, so that
 * their cells stay for an hour: each failover meets old cells, which a client that follows it would find.
 */

const jobIds = Array.from({ length: 4 }, (_, index) => `job-${index}`)

type World = { group: RedisGroup, services: Service[], first: Service }

const startWorld = async <Group extends RedisGroup>(
  t: Test, startGroup: (folder: string) => Promise<Group>
): Promise<World & { group: Group }> => {
  const folder = t.testdir()
  const group = await startGroup(folder)
  t.teardown(group.close)
  const env = { REDIS_URL: group.url, WORKERS: '0', LOG_LEVEL: 'info' }
  const first = await startService(t, env, join(folder, 'jobs.db'))
  const second = await startService(t, env, first.databasePath)
  for (const id of jobIds) {
    await first.sql(`INSERT INTO JobExecutionLog (jobId, status, resultUrl) VALUES ('${id}', 'Succeeded', '/0')`)
  }
  return { group, services: [first, second], first }
}

const inUse = async (services: readonly Service[]) => {
  for (const service of services) {
    await until(async () => (await service.askJson('/readyz')).cache.mode === 'on', 'the cache in use')
  }
}

/** A client of all of them, by turns. */
const byTurns = (services: readonly Service[]): Client => {
  let turn = 0
  const [first] = services as [Service]
  return { ...first, ask: (...args) => (services[turn++ % services.length] ?? first).ask(...args) }
}

type Pollers = ReturnType<typeof startPollers>

const traffic = async ({ seen }: Pollers, answers = 60) => {
  const goal = seen.answers + answers
  await until(() => seen.answers >= goal, 'traffic')
}

/** Changes all jobs, and returns once each change has been shown. */
const change = async ({ first }: World, { newest }: Pollers) => {
  await first.sql("UPDATE JobExecutionLog SET resultUrl = resultUrl || '+'")
  const versions = await first.sql('SELECT jobId, version FROM JobExecutionLog')
  for (const line of versions.split('\n')) {
    const [jobId = '', version] = line.split('|')
    await until(() => (newest.get(jobId) ?? 0) >= Number(version), `version ${version} of ${jobId}`)
  }
}

const epochOf = ({ first }: World) => first.sql('SELECT name FROM CacheEpoch')

/** A cell of the current epoch, and the master that has it. */
const findCell = async (world: World): Promise<{ key: string, master: Member }> => {
  return await until(async () => {
    const epoch = await epochOf(world)
    for (const master of await world.group.masters()) {
      const [key] = await master.client.keys(`js:*:${epoch}:job-*`)
      if (key !== undefined && /^E/.test(await master.client.get(key) ?? '')) return { key, master }
    }
    return undefined
  }, 'a cell')
}

const cellAt = async ({ client }: Member, key: string): Promise<string> => {
  // A replica of a cluster needs that to answer; others do not know it.
  await client.readonly().catch(() => {})
  const cell = await client.get(key).catch(() => null)
  await client.readwrite().catch(() => {})
  return cell ?? ''
}

const versionOf = (cell: string): number => Number(/^E(\d+) /.exec(cell)?.[1] ?? 0)

const untilReplaced = async ({ group }: World, key: string, master: Member) => {
  await until(async () => await group.masterOf(key).catch(() => master) !== master, 'the failover')
}

type Scenario = (t: Test, world: World, pollers: Pollers) => Promise<void>

/** A master is killed whose replica has not got the last changes. */
const killWithLostWrites: Scenario = async (t, world, pollers) => {
  const { group } = world
  const { key, master } = await findCell(world)
  const replica = await group.replicaOf(master)
  const old = await until(async () => await cellAt(replica, key) || undefined, 'the cell at the replica')
  master.isolate([replica], true)
  await change(world, pollers)
  await master.kill()
  await untilReplaced(world, key, master)
  t.equal(versionOf(await cellAt(replica, key)), versionOf(old), 'the new master has the old cell')
  await traffic(pollers)
  master.isolate([replica], false)
  await group.restart(master)
}

/** A master stands still until it has been replaced, and then goes on where it was. */
const pauseUntilReplaced: Scenario = async (t, world, pollers) => {
  const { key, master } = await findCell(world)
  const before = versionOf(await cellAt(master, key))
  master.pause()
  await untilReplaced(world, key, master)
  await change(world, pollers)
  const asked = master.client.get(key).catch(() => '')
  master.resume()
  t.ok([before, 0].includes(versionOf(await asked ?? '')), 'the old master has the old cell, if it answers at all')
  await traffic(pollers)
}

/** A master is cut off from the other servers, while its clients reach it, and is replaced. */
const partition: Scenario = async (t, world, pollers) => {
  const { group } = world
  const { key, master } = await findCell(world)
  group.isolate(master, true)
  await change(world, pollers)
  await untilReplaced(world, key, master)
  await change(world, pollers)
  t.equal(await master.client.ping(), 'PONG', 'it still answers')
  t.match(await master.client.info('replication'), /role:master/, 'as a master')
  await traffic(pollers)
  group.isolate(master, false)
}

const failOverByHand: Scenario = async (_t, world, pollers) => {
  const { key, master } = await findCell(world)
  await replaceByHand(world.group, master, key)
  await change(world, pollers)
}

const runScenarios = async (t: Test, world: World, kind: string, scenarios: Record<string, Scenario>) => {
  const { group, services, first } = world
  for (const [name, scenario] of Object.entries(scenarios)) {
    await t.test(name, async t => {
      await group.settle()
      await inUse(services)
      const pollers = startPollers(byTurns(services), jobIds, 4)
      t.teardown(pollers.stop)
      await change(world, pollers)
      const before = await epochOf(world)
      await scenario(t, world, pollers)
      await group.settle()
      await inUse(services)
      await change(world, pollers)
      await findCell(world)
      t.not(await epochOf(world), before, 'the cache is in use again, with other cells')
      t.same((await pollers.stop()).complaints, [], 'nothing older was shown')
    })
  }
  t.equal((await first.askJson('/readyz')).cache.kind, kind)
  t.match(await (await first.ask('/metrics')).text(), `\njob_status_cache_kind{kind="${kind}"} 1\n`)
  const lines = first.logs.filter(({ msg }) => /^cache (in use|disabled)/.test(msg as string))
  t.ok(lines.length > 0 && lines.every(line => line.kind === kind), 'the log says which kind it is')
}

const ofEachKind = {
  'a master is replaced by hand': failOverByHand,
  'a master is killed whose replica lacks the last writes': killWithLostWrites,
  'a master is paused and replaced, and then goes on': pauseUntilReplaced,
  'a master that only its clients reach is replaced': partition
}

t.test('with Sentinels no cell of an old master is believed', async t => {
  const world = await startWorld(t, startSentinelGroup)
  await runScenarios(t, world, 'redis-sentinel', ofEachKind)
})

t.test('in a cluster no cell of an old master is believed', async t => {
  const world = await startWorld(t, startRedisCluster)
  const cluster = world.group
  const moveSlots: Scenario = async (t, world, pollers) => {
    const { key, master } = await findCell(world)
    const slot = await master.client.cluster('KEYSLOT', key)
    const others = (await cluster.masters()).filter(other => other !== master)
    const [other] = others as [Member]
    await cluster.moveSlot(slot, other)
    t.not(await cellAt(other, key), '', 'the cell has moved along')
    await change(world, pollers)
    await cluster.moveSlot(slot, master)
    await change(world, pollers)
    const reasons = world.services.flatMap(({ logs }) => logs.map(({ reason }) => reason as string | undefined))
    t.ok(reasons.some(reason => reason?.startsWith('a slot of the cluster ')), 'the log says why the cache was off')
  }
  await runScenarios(t, world, 'redis-cluster', { ...ofEachKind, 'slots are moved': moveSlots })
})
