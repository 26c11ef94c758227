import { setTimeout as delay } from 'node:timers/promises'
import type { RedisCluster } from '../helpers/redis-cluster.ts'
import type { RedisGroup } from '../helpers/redis-members.ts'
import { type CommonVictims, commonFaults, type Fault } from './nemesis.ts'

/*
 * What happens to servers of which others take the place. Each fault ends when the group has come to rest.
 */

type GroupVictims = CommonVictims & { group: RedisGroup }

const slotsCount = 16384

const ofGroup: Fault<GroupVictims>[] = [
  {
    name: 'kill a master',
    on: 'redis',
    run: async ({ group }, random) => {
      const master = random.pick(await group.masters())
      await master.kill()
      await delay(random.pick([0, 500, 3000]))
      await group.restart(master)
      await group.settle()
    }
  },
  {
    name: 'kill a master whose replica lacks the last writes',
    on: 'redis',
    run: async ({ group }, random) => {
      const master = random.pick(await group.masters())
      const replica = await group.replicaOf(master)
      master.isolate([replica], true)
      await delay(random.between(100, 600))
      await master.kill()
      await delay(3000)
      master.isolate([replica], false)
      await group.restart(master)
      await group.settle()
    }
  },
  {
    name: 'stop a master for a while',
    on: 'redis',
    run: async ({ group }, random) => {
      const master = random.pick(await group.masters())
      master.pause()
      await delay(random.pick([50, 300, 1200, 4000]))
      master.resume()
      await group.settle()
    }
  },
  {
    name: 'cut a master off from the other servers',
    on: 'redis',
    run: async ({ group }, random) => {
      const master = random.pick(await group.masters())
      group.isolate(master, true)
      await delay(random.pick([300, 1500, 4000]))
      group.isolate(master, false)
      await group.settle()
    }
  },
  {
    name: 'replace a master',
    on: 'redis',
    run: async ({ group }, random) => {
      await group.failOver(random.pick(await group.masters()))
      await delay(random.between(0, 1000))
      await group.settle()
    }
  },
  {
    name: 'cut the connections to a master',
    on: 'redis',
    run: async ({ group }, random) => {
      const master = random.pick(await group.masters())
      for (let count = random.between(1, 4); count > 0; count--) {
        master.cut()
        await delay(random.between(20, 300))
      }
      await group.settle()
    }
  },
  {
    name: 'FLUSHALL at each master over and over',
    on: 'redis',
    run: async ({ group }, random) => {
      const masters = await group.masters()
      for (let count = random.between(20, 100); count > 0; count--) {
        await Promise.all(masters.map(({ client }) => client.flushall().catch(() => {})))
        await delay(8)
      }
    }
  }
]

const ofCluster = (cluster: RedisCluster): Fault<GroupVictims>[] => [
  {
    name: 'move slots',
    on: 'redis',
    run: async (_victims, random) => {
      for (let count = random.between(5, 30); count > 0; count--) {
        const slot = random.between(0, slotsCount - 1)
        const from = await cluster.masterOfSlot(slot)
        await cluster.moveSlot(slot, random.pick((await cluster.masters()).filter(each => each !== from)))
      }
      await cluster.settle()
    }
  },
  {
    name: 'replace a master by force, and back',
    on: 'redis',
    run: async (_victims, random) => {
      const master = random.pick(await cluster.masters())
      const replica = await cluster.replicaOf(master)
      master.isolate([replica], true)
      await delay(random.between(100, 600))
      await replica.client.cluster('FAILOVER', 'TAKEOVER')
      master.isolate([replica], false)
      await delay(random.between(0, 1000))
      await cluster.settle()
      await master.client.cluster('FAILOVER', 'TAKEOVER')
      await cluster.settle()
    }
  }
]

/** The faults of a group with Sentinels, or of a cluster. */
export const groupFaults = (group: RedisGroup): readonly Fault<GroupVictims>[] =>
  [...commonFaults, ...ofGroup, ...'moveSlot' in group ? ofCluster(group as RedisCluster) : []]
