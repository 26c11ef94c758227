import { LRUCache } from 'lru-cache'

/*
 * How many tries may be under way, of one host and of all. Hosts that answer slowly, and those that have not answered
 * yet, hold at most half of all slots together: however many of them hang, the others have the rest.
 */

/** A host that finds no slot is remembered until one is free. */
export type Slots = {
  /** Takes the slots that this host may have. */
  take: (host: string) => number
  giveBack: (host: string, count: number) => void
  /** A try of this host has ended after so many ms. */
  observe: (host: string, tookMs: number) => void
  isFull: () => boolean
  /** This host has more to do than it had slots for. */
  want: (host: string) => void
  /** Some hosts had no slot because all were taken. */
  wantAny: () => void
  /** Takes those that wanted slots and can have some now: hosts, and whether there are hosts that are not named. */
  takeWanted: () => { hosts: string[], any: boolean }
}

const quickMsMax = 1000
// Of those used last; one that is forgotten is quick again after its next try.
const quickHostsMax = 10_000
// A host that is not named is found by the next sweep.
const wantedMax = 1000

export const createSlots = (perHostMax: number, atOnceMax: number): Slots => {
  const counts = new Map<string, number>()
  const quick = new LRUCache<string, true>({ max: quickHostsMax, dispose: (_value, host) => { slow += countOf(host) } })
  const wanted = new Set<string>()
  const slowMax = Math.ceil(atOnceMax / 2)
  let isAnyWanted = false
  let total = 0
  /** Those of hosts that are not quick. */
  let slow = 0

  const countOf = (host: string): number => counts.get(host) ?? 0
  const freeOf = (host: string): number => Math.max(0, Math.min(
    perHostMax - countOf(host), atOnceMax - total, quick.has(host) ? Infinity : slowMax - slow))
  const add = (host: string, count: number) => {
    total += count
    if (!quick.has(host)) slow += count
    const sum = countOf(host) + count
    if (sum === 0) counts.delete(host)
    else counts.set(host, sum)
  }

  return {
    take: host => {
      const free = freeOf(host)
      add(host, free)
      return free
    },
    giveBack: (host, count) => { add(host, -count) },
    observe: (host, tookMs) => {
      if (tookMs > quickMsMax) quick.delete(host)
      else if (quick.get(host) === undefined) {
        slow -= countOf(host)
        quick.set(host, true)
      }
    },
    isFull: () => total >= atOnceMax,
    want: host => { if (wanted.size < wantedMax) wanted.add(host) },
    wantAny: () => { isAnyWanted = true },
    takeWanted: () => {
      if (total >= atOnceMax) return { hosts: [], any: false }
      const hosts = [...wanted].filter(host => freeOf(host) > 0)
      for (const host of hosts) wanted.delete(host)
      const any = isAnyWanted
      isAnyWanted = false
      return { hosts, any }
    }
  }
}
