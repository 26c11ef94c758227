/** Chance that a seed repeats. */
export type Random = {
  /** In [0, 1). */
  next: () => number
  /** A whole number, both ends included. */
  between: (least: number, most: number) => number
  /** True this often. */
  isIn: (probability: number) => boolean
  pick: <Value>(values: readonly Value[]) => Value
  shuffle: <Value>(values: readonly Value[]) => Value[]
  /** Chance of its own for one who acts at the same time as others. */
  fork: () => Random
}

export const createRandom = (seed: number): Random => {
  let state = seed >>> 0
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (least: number, most: number) => least + Math.floor(next() * (most - least + 1))
  return {
    next,
    between,
    isIn: probability => next() < probability,
    pick: <Value>(values: readonly Value[]) => values[between(0, values.length - 1)] as Value,
    shuffle: <Value>(values: readonly Value[]) => {
      const left = [...values]
      const shuffled: Value[] = []
      while (left.length > 0) shuffled.push(...left.splice(between(0, left.length - 1), 1))
      return shuffled
    },
    fork: () => createRandom(between(0, 2 ** 32 - 1))
  }
}
