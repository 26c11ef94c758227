import { createNumbers } from '../../helpers/random.ts'

/** Chance that can be repeated. */
export type Random = {
  /** 0 up to, and without, 1. */
  next: () => number
  /** A whole number below `end`. */
  below: (end: number) => number
  chance: (probability: number) => boolean
  pick: <Value>(values: readonly Value[]) => Value
}

export const createRandom = (seed: number): Random => {
  const next = createNumbers(seed)
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
