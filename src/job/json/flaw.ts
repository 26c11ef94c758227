/** JSON nested deeper is rejected, so that recursive code which handles it later cannot exhaust the stack. */
export const jsonDepthMax = 64

/** Why parsed JSON is rejected. `numberRange`: JSON.parse turns 1e999 into Infinity, which JSON cannot express. */
export type JsonFlaw = 'maxDepth' | 'numberRange' | 'propertyNames'

/** The first flaw of parsed JSON; undefined: it has none. */
export const findJsonFlaw = (value: unknown): JsonFlaw | undefined => {
  // One list for values and one for their levels: an object for each would cost more than the check itself.
  const values: unknown[] = [value]
  const levels: number[] = [0]
  while (values.length > 0) {
    const next = values.pop()
    const level = levels.pop() ?? 0
    if (next === Infinity || next === -Infinity) return 'numberRange'
    if (typeof next !== 'object' || next === null) continue
    if (level >= jsonDepthMax) return 'maxDepth'
    if (Object.hasOwn(next, '__proto__')) return 'propertyNames'
    for (const inner of Array.isArray(next) ? next as unknown[] : Object.values(next)) {
      if ((typeof inner !== 'object' || inner === null) && inner !== Infinity && inner !== -Infinity) continue
      values.push(inner)
      levels.push(level + 1)
    }
  }
  return undefined
}
