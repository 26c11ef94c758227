/*
 * Looks at every state that a system can come to, the nearest ones first, so that the first story that ends badly is
 * also a shortest one. States are plain values, never changed; one that has been seen is kept as a short text and the
 * number of the state it came from, which is enough to repeat the story from the beginning.
 */

export type System<State> = {
  initial: State
  /** Calls `to` with everything that happens next, in some order, with a label. */
  next: (state: State, to: (label: string, state: State) => void) => void
  /** The same with what can happen, or never. */
  mayHappen?: (state: State, to: (label: string, state: State) => void) => void
  /** What must never be, if this is such a state. */
  violation: (state: State) => string | null
  /** What should have been done before, if nothing happens next. */
  unfinished?: (state: State) => string | null
  /** The same for two states only if whatever can happen from the one can happen from the other; below 256 each. */
  encode: (state: State) => number[]
}

/** `story`: what leads to the violation, step by step. */
export type Exploration =
  | { kind: 'holds', states: number }
  | { kind: 'violated', states: number, story: string[], violation: string }

export const explore = <State>(
  { initial, next, mayHappen = () => {}, violation, unfinished = () => null, encode }: System<State>, statesMax: number
): Exploration => {
  const numbers = new Map<string, number>()
  const parents: number[] = []
  const keyOf = (state: State) => String.fromCharCode(...encode(state))

  const retrace = (last: number): { story: string[], state: State } => {
    const path: number[] = []
    for (let at = last; at > 0; at = parents[at] ?? 0) path.unshift(at)
    let state = initial
    const story = path.map(number => {
      let line = ''
      const before = state
      for (const steps of [next, mayHappen]) {
        steps(before, (label, reached) => {
          if (line !== '' || numbers.get(keyOf(reached)) !== number) return
          line = label
          state = reached
        })
      }
      return line
    })
    return { story, state }
  }

  numbers.set(keyOf(initial), 0)
  parents.push(0)
  let frontier: State[] = [initial]
  let first = 0
  while (frontier.length > 0) {
    const reached: State[] = []
    let found: { at: number, violation: string } | undefined
    for (const [index, state] of frontier.entries()) {
      let isAtRest = true
      const reach = (after: State) => {
        const key = keyOf(after)
        if (found !== undefined || numbers.has(key)) return
        const number = numbers.size
        numbers.set(key, number)
        parents.push(first + index)
        reached.push(after)
        const wrong = violation(after)
        if (wrong !== null) found = { at: number, violation: wrong }
      }
      next(state, (_label, after) => {
        isAtRest = false
        reach(after)
      })
      const left = isAtRest ? unfinished(state) : null
      if (left !== null) found = { at: first + index, violation: left }
      else mayHappen(state, (_label, after) => { reach(after) })
      if (found !== undefined) {
        const { story, state } = retrace(found.at)
        return { kind: 'violated', states: numbers.size, story, violation: violation(state) ?? found.violation }
      }
      if (numbers.size > statesMax) throw new Error(`more than ${statesMax} states`)
    }
    first += frontier.length
    frontier = reached
  }
  return { kind: 'holds', states: numbers.size }
}
