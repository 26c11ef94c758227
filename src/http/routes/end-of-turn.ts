/**
 * Gathers what is asked for in one turn of the event loop and does it at its end, in one go. When many clients poll,
 * one turn finds many requests: reading them all, then answering them all, keeps the processor at one kind of work
 * at a time, and halves what an answer costs against doing each as it comes; their reads of a cache travel together,
 * too. Alone, a request waits for nothing: the end of its turn is now.
 *
 * The work must not throw.
 */
export const createBatchPerTick = (): ((work: () => void) => void) => {
  let gathered: (() => void)[] = []
  const flush = () => {
    const works = gathered
    gathered = []
    for (const work of works) work()
  }
  return work => {
    if (gathered.push(work) === 1) setImmediate(flush)
  }
}
