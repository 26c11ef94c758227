import { createNumbers } from '../helpers/random.ts'

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
  const next = createNumbers(seed)
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
