/** `atOnceMax`: how many reads may be under way; `askedMax`: how many questions one may answer. */
export type GatherLimits = { atOnceMax: number, askedMax: number }

type Waiter<Result> = { resolve: (result: Result) => void, reject: (error: unknown) => void }
type Question<Asked, Result> = { asked: Asked, waiters: Array<Waiter<Result>> }

/**
 * Makes one read of many: what is asked for in one iteration of the event loop, or while as many reads as may be are
 * under way, goes into one statement. A read begins after everything that it answers was asked for, so no caller gets a
 * state from before its call. Questions with the same key are one, the latest. `read` returns the results in the order
 * of the questions.
 */
export const createGather = <Asked, Result>(
  read: (asked: Asked[]) => Promise<Result[]>, keyOf: (asked: Asked) => string, { atOnceMax, askedMax }: GatherLimits
): ((asked: Asked) => Promise<Result>) => {
  const waiting = new Map<string, Question<Asked, Result>>()
  let underWay = 0
  let isScheduled = false

  const answer = async (questions: Array<Question<Asked, Result>>): Promise<void> => {
    try {
      const results = await read(questions.map(({ asked }) => asked))
      for (const [index, { waiters }] of questions.entries()) {
        for (const { resolve } of waiters) resolve(results[index] as Result)
      }
    } catch (error) {
      for (const { waiters } of questions) for (const { reject } of waiters) reject(error)
    }
  }

  const begin = () => {
    isScheduled = false
    while (underWay < atOnceMax && waiting.size > 0) {
      const taken = waiting.entries().take(askedMax).toArray()
      for (const [key] of taken) waiting.delete(key)
      underWay++
      void answer(taken.map(([, question]) => question)).finally(() => {
        underWay--
        begin()
      })
    }
  }

  return asked => new Promise((resolve, reject) => {
    const key = keyOf(asked)
    const question = waiting.get(key)
    if (question === undefined) waiting.set(key, { asked, waiters: [{ resolve, reject }] })
    else {
      question.asked = asked
      question.waiters.push({ resolve, reject })
    }
    if (isScheduled || underWay >= atOnceMax) return
    isScheduled = true
    // After everything that this turn still does, and before the next one.
    process.nextTick(begin)
  })
}
