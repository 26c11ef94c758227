/**
 * Collects the items of one tick and runs them together at its end, so that no caller waits for others to come. On the
 * service's side a command to Redis costs more than the rest of a poll, and polls often arrive together. Equal items
 * share one result; each run begins after all calls that share it.
 */
export const createCoalescer = <Item, Result>(
  run: (items: Item[]) => Promise<Result[]>
): ((item: Item) => Promise<Result>) => {
  type Batch = { items: Item[], results: Map<Item, Promise<Result>>, all: Promise<Result[]> }
  let batch: Batch | null = null

  const begin = (): Batch => {
    const items: Item[] = []
    const all = new Promise<Result[]>((resolve, reject) => {
      process.nextTick(() => {
        batch = null
        run(items).then(resolve, reject)
      })
    })
    return { items, results: new Map(), all }
  }

  return item => {
    batch ??= begin()
    const { items, results, all } = batch
    const shared = results.get(item)
    if (shared !== undefined) return shared
    const index = items.push(item) - 1
    const result = all.then(values => values[index] as Result)
    results.set(item, result)
    return result
  }
}
