/** `underWayMax`: how many groups of one name may be under way; `worksMax`: how many works a group may have. */
export type GroupLimits = { underWayMax: number, worksMax: number }

type Queue<Work> = { waiting: Work[], underWay: number, isRunning: boolean, isScheduled: boolean }

/**
 * Gathers works by the name of their group: what comes in one turn of the event loop, or while a group of this name
 * runs, is run together. The next group may run while others wait for their commit. `run` never rejects, and calls
 * `onWorked` once nothing but the commit is left.
 */
export const createGroups = <Work>(
  run: (works: Work[], onWorked: () => void) => Promise<void>, { underWayMax, worksMax }: GroupLimits
): ((name: string, work: Work) => void) => {
  const queues = new Map<string, Queue<Work>>()

  const begin = (name: string, queue: Queue<Work>): void => {
    queue.isScheduled = false
    if (queue.isRunning || queue.underWay >= underWayMax || queue.waiting.length === 0) return
    queue.isRunning = true
    queue.underWay++
    let isWorked = false
    const onWorked = () => {
      if (isWorked) return
      isWorked = true
      queue.isRunning = false
      begin(name, queue)
    }
    void run(queue.waiting.splice(0, worksMax), onWorked).finally(() => {
      queue.underWay--
      onWorked()
      begin(name, queue)
      if (queue.underWay === 0) queues.delete(name)
    })
  }

  return (name, work) => {
    const queue = queues.get(name) ?? { waiting: [], underWay: 0, isRunning: false, isScheduled: false }
    queues.set(name, queue)
    queue.waiting.push(work)
    if (queue.isScheduled || queue.isRunning) return
    queue.isScheduled = true
    // After the requests that this turn still reads, and the next one: clients that were answered together come back so.
    setImmediate(() => { setImmediate(begin, name, queue) })
  }
}
