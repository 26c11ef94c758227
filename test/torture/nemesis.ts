import { setTimeout as delay } from 'node:timers/promises'
import type { FaultWindow } from './history.ts'
import type { Proxy } from './proxy.ts'
import { cutSome, delayOne, directions, refuseFor } from './proxy-faults.ts'
import type { Random } from '../helpers/random.ts'
import type { TorturedRedis } from './redis-server.ts'
import type { ServiceProcess } from './service-process.ts'

/** What there is to break, whatever Redis and database it is. */
export type CommonVictims = { nodes: readonly ServiceProcess[] }

/** The same with one Redis. `proxies[i]` stands between `nodes[i]` and it. */
type ServerVictims = CommonVictims & { proxies: readonly Proxy[], redis: TorturedRedis }

export type Fault<Victims = CommonVictims> = {
  name: string
  /** Two faults at once are never on the same. */
  on: 'service' | 'redis' | 'connection' | 'database'
  /** Breaks something, waits, and mends it. */
  run: (victims: Victims, random: Random) => Promise<void>
}

// What a dead or a stopped Redis does not take is of no concern.
const ignoring = async (command: Promise<unknown>): Promise<void> => { await command.catch(() => {}) }

const flushFor = async ({ redis }: ServerVictims, ms: number): Promise<void> => {
  const endAt = performance.now() + ms
  while (performance.now() < endAt) {
    await ignoring(redis.client.flushall())
    await delay(4)
  }
}

const ofServices: Fault[] = [
  {
    name: 'kill a service',
    on: 'service',
    run: async ({ nodes }, random) => {
      const node = random.pick(nodes)
      node.kill()
      await node.up()
    }
  },
  {
    name: 'kill all services',
    on: 'service',
    run: async ({ nodes }) => {
      for (const node of nodes) node.kill()
      await Promise.all(nodes.map(node => node.up()))
    }
  },
  {
    name: 'stop a service for a while',
    on: 'service',
    run: async ({ nodes }, random) => {
      const node = random.pick(nodes)
      node.signal('SIGSTOP')
      await delay(random.between(100, 2500))
      node.signal('SIGCONT')
    }
  }
]

const ofRedis: Fault<ServerVictims>[] = [
  {
    name: 'stop Redis for a while',
    on: 'redis',
    run: async ({ redis }, random) => {
      redis.signal('SIGSTOP')
      await delay(random.between(30, 1500))
      redis.signal('SIGCONT')
    }
  },
  {
    name: 'kill Redis, start it empty',
    on: 'redis',
    run: async ({ redis }, random) => {
      await redis.kill()
      await delay(random.between(0, 1000))
      await redis.start('empty')
    }
  },
  {
    name: 'kill Redis, start it with an old snapshot',
    on: 'redis',
    run: async ({ redis }, random) => {
      await ignoring(redis.keepSnapshot())
      await delay(random.between(30, 600))
      await redis.kill()
      await redis.start('snapshot')
    }
  },
  {
    name: 'FLUSHALL over and over',
    on: 'redis',
    run: async (victims, random) => {
      await flushFor(victims, random.between(200, 1500))
    }
  },
  {
    name: 'Redis out of memory',
    on: 'redis',
    run: async ({ redis: { client } }, random) => {
      await ignoring(client.config('SET', 'maxmemory', '1'))
      await delay(random.between(100, 1500))
      await ignoring(client.config('SET', 'maxmemory', '0'))
    }
  },
  {
    name: 'Redis read-only',
    on: 'redis',
    run: async ({ redis: { client } }, random) => {
      await ignoring(client.replicaof('127.0.0.1', '1'))
      await delay(random.between(100, 1500))
      await ignoring(client.replicaof('NO', 'ONE'))
    }
  }
]

const ofConnections: Fault<ServerVictims>[] = [
  {
    name: 'cut connections to Redis',
    on: 'connection',
    run: ({ proxies }, random) => cutSome(proxies, random)
  },
  {
    name: 'refuse connections to Redis',
    on: 'connection',
    run: ({ proxies }, random) => refuseFor(proxies, random, 1500)
  },
  {
    name: 'delay one side a little',
    on: 'connection',
    run: ({ proxies }, random) => delayOne(proxies, random, random.pick(directions), random.between(5, 60))
  },
  {
    name: 'delay one side past the deadline',
    on: 'connection',
    run: ({ proxies }, random) => delayOne(proxies, random, random.pick(directions), random.pick([120, 300, Infinity]))
  },
  {
    name: 'evict everything under slow commands',
    on: 'connection',
    run: async (victims, random) => {
      await Promise.all([
        delayOne(victims.proxies, random, random.pick(directions), random.between(5, 40)),
        flushFor(victims, random.between(500, 2000))
      ])
    }
  },
  {
    name: 'hold fills back until everything is evicted',
    on: 'connection',
    run: async ({ proxies, redis }, random) => {
      const proxy = random.pick(proxies)
      for (let count = random.between(8, 16); count > 0; count--) {
        // All readers find empty cells and begin to fill them, too slowly to fill them for one another.
        for (const each of proxies) each.delay('there', 15)
        await ignoring(redis.client.flushall())
        await delay(random.between(15, 35))
        // What one process has loaded becomes old while others write. The hold is below the deadline of a command.
        for (const each of proxies) each.delay('there', each === proxy ? Infinity : 0)
        await delay(random.between(30, 70))
        await ignoring(redis.client.flushall())
        proxy.delay('there', 0)
        // What follows is late: the relay of this process would remove an old entry before others have read it.
        proxy.delay('there', random.between(40, 70))
        await delay(random.between(40, 100))
      }
      proxy.delay('there', 0)
    }
  }
]

/** Those that need no particular Redis and no particular database. */
export const commonFaults: readonly Fault[] = ofServices

/** Those of one Redis that all processes reach through proxies. */
export const serverFaults: readonly Fault<ServerVictims>[] =
  [...ofServices, ...ofRedis, ...ofConnections]

export type NemesisNeeds<Victims = CommonVictims> = {
  victims: Victims
  faults: ReadonlyArray<Fault<Victims>>
  random: Random
  isStopped: () => boolean
  /** Parts of the names of the only faults to inflict; undefined: all. */
  only: readonly string[] | undefined
  /** Called between the rounds, while nothing is broken. */
  onCalm: () => Promise<void>
  log: (text: string) => void
}

/** Breaks everything that can be broken, over and over in an order of chance, now and then two things at once. Returns when what was. */
export const runNemesis = async <Victims>(
  { victims, faults, random, isStopped, only, onCalm, log }: NemesisNeeds<Victims>, windows: FaultWindow[]
): Promise<void> => {
  const inflict = async (fault: Fault<Victims>, own: Random) => {
    const from = performance.now()
    const window: FaultWindow = { name: fault.name, from, until: Infinity }
    windows.push(window)
    log(fault.name)
    await fault.run(victims, own)
    window.until = performance.now()
  }
  const chosen = only === undefined ? faults : faults.filter(({ name }) => only.some(part => name.includes(part)))
  while (!isStopped()) {
    const round = random.shuffle(chosen)
    while (!isStopped()) {
      const first = round.shift()
      if (first === undefined) break
      const second = random.chance(0.3) ? round.findIndex(({ on }) => on !== first.on) : -1
      const together = [first, ...(second === -1 ? [] : round.splice(second, 1))]
      await Promise.all(together.map(fault => inflict(fault, random.fork())))
      await delay(random.between(50, 800))
    }
    if (chosen.length === 0) await delay(50)
    await onCalm()
  }
}
