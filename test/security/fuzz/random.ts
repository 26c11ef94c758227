/** Chance that can be repeated. */
export type Random = {
  /** 0 up to, and without, 1. */
  next: () => number
  /** A whole number below `end`. */
  below: (end: number) => number
  chance: (probability: number) => boolean
  pick: <Value>(values: readonly Value[]) => Value
}

/** Mulberry32: small, and good enough to choose with. */
export const createRandom = (seed: number): Random => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (end: number) => Math.floor(next() * end)
  return {
    next,
    below,
    chance: probability => next() < probability,
    pick: values => {
      if (values.length === 0) throw new Error('there is nothing to choose from')
      return values[below(values.length)] as (typeof values)[number]
    }
  }
}
