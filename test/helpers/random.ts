/** Random choices that a seed repeats. */
export type Random = {
  /** In [0, 1). */
  next: () => number
  /** An integer in [0, end). */
  below: (end: number) => number
  /** An integer, both ends included. */
  between: (least: number, most: number) => number
  /** True with this probability. */
  chance: (probability: number) => boolean
  pick: <Value>(values: readonly Value[]) => Value
  shuffle: <Value>(values: readonly Value[]) => Value[]
  /** A generator of its own for an actor that runs beside others, whose order of calls no seed repeats. */
  fork: () => Random
}

/** Numbers in [0, 1) that a seed repeats (mulberry32: small, and good enough to choose with). */
export const createNumbers = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export const createRandom = (seed: number): Random => {
  const next = createNumbers(seed)
  const below = (end: number) => Math.floor(next() * end)
  const between = (least: number, most: number) => least + below(most - least + 1)
  return {
    next,
    below,
    between,
    chance: probability => next() < probability,
    pick: values => {
      if (values.length === 0) throw new Error('there is nothing to choose from')
      return values[below(values.length)] as (typeof values)[number]
    },
    shuffle: values => {
      const left = [...values]
      const shuffled: typeof left = []
      while (left.length > 0) shuffled.push(...left.splice(below(left.length), 1))
      return shuffled
    },
    fork: () => createRandom(between(0, 2 ** 32 - 1))
  }
}
