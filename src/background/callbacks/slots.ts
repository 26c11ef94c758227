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

/** Slots that were taken for a queue. */
export type Turn = { queue: CallbackQueue, slots: number }

/** Queues that wait for slots are remembered, and have them in the order in which they came. */
export type Slots = {
  /** A queue with something due waits behind the others; one that waits already keeps its place. False: too many wait. */
  want: (queue: CallbackQueue) => boolean
  /** A queue that used all its slots waits again, behind all others; if many wait, a later `want` has to name it. */
  wantMore: (queue: CallbackQueue) => void
  /** Takes slots for the queues that wait and can have some now, then for `others`. */
  take: (others?: readonly CallbackQueue[]) => Turn[]
  giveBack: (queue: CallbackQueue, count: number) => void
  /** A try of this host has ended after so many ms. */
  observe: (host: string, tookMs: number) => void
  isFull: () => boolean
}

const quickMsMax = 1000
// Of those used last; one that is forgotten is quick again after its next try.
const quickHostsMax = 10_000
// How many queues may wait: hosts of each tenant, and tenants.
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

/** Queues that wait for a slot, by tenant. Tenants take turns, and so do the hosts of a tenant. */
const createWanted = () => {
  const wanted = new Map<string, Set<string>>()
  /** `share` of the places may be taken. */
  const add = ({ host, tenant }: CallbackQueue, share: number): boolean => {
    const hosts = wanted.get(tenant) ?? new Set()
    if (hosts.has(host)) return true
    if (hosts.size >= wantedHostsMax * share) return false
    if (hosts.size === 0 && wanted.size >= wantedTenantsMax * share) return false
    wanted.set(tenant, hosts.add(host))
    return true
  }
  return {
    add: (queue: CallbackQueue): boolean => add(queue, 1),
    // Half of the places are for others, or those that always want more would keep all of them.
    addAgain: (queue: CallbackQueue): boolean => add(queue, 0.5),
    /** Takes those for which `take` finds slots. Those without keep their places. */
    take: (mayTenant: (tenant: string) => boolean, take: (queue: CallbackQueue) => number): Turn[] => {
      const turns: Turn[] = []
      for (const [tenant, hosts] of [...wanted]) {
        if (!mayTenant(tenant)) continue
        const before = turns.length
        for (const host of hosts) {
          const slots = take({ host, tenant })
          if (slots === 0) continue
          turns.push({ queue: { host, tenant }, slots })
          hosts.delete(host)
        }
        if (turns.length === before) continue
        wanted.delete(tenant)
        if (hosts.size > 0) wanted.set(tenant, hosts)
      }
      return turns
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

  const take = (queue: CallbackQueue): number => {
    const free = freeOf(queue)
    add(queue, free)
    return free
  }

  return {
    want: wanted.add,
    wantMore: wanted.addAgain,
    take: (others = []) => {
      if (all.isFull()) return []
      const turns = wanted.take(tenant => all.freeOf(tenant) > 0, take)
      for (const queue of others) {
        const slots = take(queue)
        if (slots > 0) turns.push({ queue, slots })
      }
      return turns
    },
    giveBack: (queue, count) => { add(queue, -count) },
    observe: (host, tookMs) => {
      if (tookMs > quickMsMax) quick.delete(host)
      else if (quick.get(host) === undefined) {
        addSlow(host, -1)
        quick.set(host, true)
      }
    },
    isFull: all.isFull
  }
}
