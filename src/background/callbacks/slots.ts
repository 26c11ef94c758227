import { LRUCache } from 'lru-cache'
import type { CallbackQueue } from '../../job/callbacks/callback.ts'

/*
 * How many tries may be under way, of one host, of one tenant and of all.
 *
 * Hosts that answer slowly, and those that have not answered yet, hold at most half of all slots together: however many
 * of them hang, the others have the rest. And no tenant may hold more slots than it leaves free, neither of all nor of
 * that half (the dynamic thresholds of Choudhury and Hahne, 1998): one alone has half of them, two a third each. So
 * whatever tenants do, one that had none finds some.
 */

/** A queue that finds no slot is remembered until there is one for it. */
export type Slots = {
  /** Takes the slots that this queue may have. */
  take: (queue: CallbackQueue) => number
  giveBack: (queue: CallbackQueue, count: number) => void
  /** A try of this host has ended after so many ms. */
  observe: (host: string, tookMs: number) => void
  isFull: () => boolean
  /** This queue has more to do than it had slots for. */
  want: (queue: CallbackQueue) => void
  /** Some queues had no slot because all were taken. */
  wantAny: () => void
  /** Takes those that wanted slots and can have some now: queues, and whether there are some that are not named. */
  takeWanted: () => { queues: CallbackQueue[], any: boolean }
}

const quickMsMax = 1000
// Of those used last; one that is forgotten is quick again after its next try.
const quickHostsMax = 10_000
// Of each tenant, and how many tenants. A queue that is not named is found by the next sweep.
const wantedHostsMax = 100
const wantedTenantsMax = 1000

/** Counts by key; those at 0 are left out. */
const createCounts = () => {
  const counts = new Map<string, number>()
  return {
    of: (key: string): number => counts.get(key) ?? 0,
    add: (key: string, count: number): void => {
      const sum = (counts.get(key) ?? 0) + count
      if (sum === 0) counts.delete(key)
      else counts.set(key, sum)
    },
    entries: () => counts.entries(),
    isEmpty: () => counts.size === 0
  }
}

/** Slots that tenants share. */
const createShares = (slotsMax: number) => {
  const ofTenants = createCounts()
  let taken = 0
  return {
    isFull: () => taken >= slotsMax,
    // What it takes is no longer free.
    freeOf: (tenant: string): number => Math.ceil((slotsMax - taken - ofTenants.of(tenant)) / 2),
    add: (tenant: string, count: number): void => {
      ofTenants.add(tenant, count)
      taken += count
    }
  }
}

/** Queues that wait for a slot, by tenant. */
const createWanted = () => {
  const wanted = new Map<string, Set<string>>()
  return {
    add: ({ host, tenant }: CallbackQueue): void => {
      const hosts = wanted.get(tenant) ?? new Set()
      if (hosts.size >= wantedHostsMax || (hosts.size === 0 && wanted.size >= wantedTenantsMax)) return
      wanted.set(tenant, hosts.add(host))
    },
    /** Takes those that can have a slot. */
    take: (mayTenant: (tenant: string) => boolean, may: (queue: CallbackQueue) => boolean): CallbackQueue[] => {
      const taken: CallbackQueue[] = []
      for (const [tenant, hosts] of wanted) {
        if (!mayTenant(tenant)) continue
        for (const host of hosts) {
          if (!may({ host, tenant })) continue
          taken.push({ host, tenant })
          hosts.delete(host)
        }
        if (hosts.size === 0) wanted.delete(tenant)
      }
      return taken
    }
  }
}

export const createSlots = (perHostMax: number, atOnceMax: number): Slots => {
  const all = createShares(atOnceMax)
  /** Those of hosts that are not quick. */
  const slow = createShares(Math.ceil(atOnceMax / 2))
  const tenantsOf = new Map<string, ReturnType<typeof createCounts>>()
  const addSlow = (host: string, sign: 1 | -1): void => {
    for (const [tenant, count] of tenantsOf.get(host)?.entries() ?? []) slow.add(tenant, sign * count)
  }
  const quick = new LRUCache<string, true>({ max: quickHostsMax, dispose: (_value, host) => { addSlow(host, 1) } })
  const ofHosts = createCounts()
  const wanted = createWanted()
  let isAnyWanted = false

  const freeOf = ({ host, tenant }: CallbackQueue): number => Math.max(0, Math.min(
    perHostMax - ofHosts.of(host), all.freeOf(tenant), quick.has(host) ? Infinity : slow.freeOf(tenant)))
  const add = ({ host, tenant }: CallbackQueue, count: number): void => {
    if (count === 0) return
    all.add(tenant, count)
    if (!quick.has(host)) slow.add(tenant, count)
    ofHosts.add(host, count)
    const tenants = tenantsOf.get(host) ?? createCounts()
    tenants.add(tenant, count)
    if (tenants.isEmpty()) tenantsOf.delete(host)
    else tenantsOf.set(host, tenants)
  }

  return {
    take: queue => {
      const free = freeOf(queue)
      add(queue, free)
      return free
    },
    giveBack: (queue, count) => { add(queue, -count) },
    observe: (host, tookMs) => {
      if (tookMs > quickMsMax) quick.delete(host)
      else if (quick.get(host) === undefined) {
        addSlow(host, -1)
        quick.set(host, true)
      }
    },
    isFull: all.isFull,
    want: wanted.add,
    wantAny: () => { isAnyWanted = true },
    takeWanted: () => {
      if (all.isFull()) return { queues: [], any: false }
      const queues = wanted.take(tenant => all.freeOf(tenant) > 0, queue => freeOf(queue) > 0)
      const any = isAnyWanted
      isAnyWanted = false
      return { queues, any }
    }
  }
}
