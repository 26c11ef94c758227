/** `atOnceMax`: how many reads may be under way; `idsMax`: how many ids one may have. */
export type GatherLimits = { atOnceMax: number, idsMax: number }

type Waiter<Result> = { resolve: (result: Result) => void, reject: (error: unknown) => void }

/**
 * Makes one read of many: what is asked for in one turn of the event loop, or while the reads that may be under way are,
 * goes into one statement. A read begins after everything that it answers was asked for, so no caller gets a state of
 * before its call. `read` returns the results in the order of the ids.
 */
export const createGather = <Result>(
  read: (ids: string[]) => Promise<Result[]>, { atOnceMax, idsMax }: GatherLimits
): ((id: string) => Promise<Result>) => {
  const waiting = new Map<string, Array<Waiter<Result>>>()
  let underWay = 0
  let isScheduled = false

  const answer = async (ids: string[], waiters: Array<Array<Waiter<Result>>>): Promise<void> => {
    try {
      const results = await read(ids)
      for (const [index, each] of waiters.entries()) for (const { resolve } of each) resolve(results[index] as Result)
    } catch (error) {
      for (const { reject } of waiters.flat()) reject(error)
    }
  }

  const begin = () => {
    isScheduled = false
    while (underWay < atOnceMax && waiting.size > 0) {
      const taken = waiting.entries().take(idsMax).toArray()
      for (const [id] of taken) waiting.delete(id)
      underWay++
      void answer(taken.map(([id]) => id), taken.map(([, waiters]) => waiters)).finally(() => {
        underWay--
        begin()
      })
    }
  }

  return id => new Promise((resolve, reject) => {
    const waiters = waiting.get(id)
    if (waiters === undefined) waiting.set(id, [{ resolve, reject }])
    else waiters.push({ resolve, reject })
    if (isScheduled || underWay >= atOnceMax) return
    isScheduled = true
    // After everything that this turn still does, and before the next one.
    process.nextTick(begin)
  })
}
