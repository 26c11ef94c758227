/** `atOnceMax`: how many groups of one name may be under way; `worksMax`: how many works a group may have. */
export type GroupLimits = { atOnceMax: number, worksMax: number }

type Queue<Work> = { waiting: Work[], underWay: number, isScheduled: boolean }

/**
 * Gathers works by the name of their group: what comes in one turn of the event loop, or while the groups that may be
 * under way are, is run together. `run` never rejects.
 */
export const createGroups = <Work>(
  run: (works: Work[]) => Promise<void>, { atOnceMax, worksMax }: GroupLimits
): ((name: string, work: Work) => void) => {
  const queues = new Map<string, Queue<Work>>()

  const begin = (name: string, queue: Queue<Work>): void => {
    queue.isScheduled = false
    while (queue.underWay < atOnceMax && queue.waiting.length > 0) {
      queue.underWay++
      void run(queue.waiting.splice(0, worksMax)).finally(() => {
        queue.underWay--
        begin(name, queue)
      })
    }
    if (queue.underWay === 0) queues.delete(name)
  }

  return (name, work) => {
    const queue = queues.get(name) ?? { waiting: [], underWay: 0, isScheduled: false }
    queues.set(name, queue)
    queue.waiting.push(work)
    if (queue.isScheduled || queue.underWay >= atOnceMax) return
    queue.isScheduled = true
    // After the requests that this turn still reads.
    setImmediate(begin, name, queue)
  }
}
