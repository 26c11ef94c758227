/** How many tries may be under way, of one host and of all. A host that finds no slot is remembered until one is free. */
export type Slots = {
  /** Takes the slots that this host may have. */
  take: (host: string) => number
  giveBack: (host: string, count: number) => void
  isFull: () => boolean
  /** This host has more to do than it had slots for. */
  want: (host: string) => void
  /** Some hosts had no slot because all were taken. */
  wantAny: () => void
  /** Takes those that wanted slots and can have some now: hosts, and whether there are hosts that are not named. */
  takeWanted: () => { hosts: string[], any: boolean }
}

export const createSlots = (perHostMax: number, atOnceMax: number): Slots => {
  const counts = new Map<string, number>()
  const wanted = new Set<string>()
  let isAnyWanted = false
  let total = 0

  const freeOf = (host: string): number =>
    Math.max(0, Math.min(perHostMax - (counts.get(host) ?? 0), atOnceMax - total))
  const add = (host: string, count: number) => {
    total += count
    const sum = (counts.get(host) ?? 0) + count
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
    isFull: () => total >= atOnceMax,
    want: host => { wanted.add(host) },
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
