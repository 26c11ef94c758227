import { setImmediate as nextTurn } from 'node:timers/promises'

// Text to parse and to write again within some 5 ms, in which the event loop answers nothing else.
const sizePerTurn = 256 * 1024

/**
 * Maps items in their order. The event loop gets a turn whenever the results since the last one have reached a size;
 * `sizeOf` returns that of a result in characters.
 */
export const mapInTurns = async <Item, Result>(
  items: readonly Item[], map: (item: Item) => Result, sizeOf: (result: Result) => number
): Promise<Result[]> => {
  const results: Result[] = []
  let size = 0
  for (const item of items) {
    if (size >= sizePerTurn) {
      await nextTurn()
      size = 0
    }
    const result = map(item)
    size += sizeOf(result)
    results.push(result)
  }
  return results
}
