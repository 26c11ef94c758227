import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'

/**
 * Asks until the answer is not undefined or false: at first every 2 ms, later every 20, because what takes long is often
 * a process that starts, and needs the CPU itself. The limit only ends a hang: no healthy run comes near it.
 */
export const until = async <Value>(
  ask: () => Value | Promise<Value>, what = 'the condition', limitMs = 180_000, asksMin = 0
): Promise<Exclude<Value, undefined | false>> => {
  const end = performance.now() + limitMs
  for (let asks = 1, pauseMs = 2; ; asks++, pauseMs = Math.min(pauseMs * 1.1, 20)) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer as Exclude<Value, undefined | false>
    if (performance.now() > end && asks >= asksMin) throw new Error(`${what} did not come about within ${limitMs} ms`)
    await delay(pauseMs)
    await turn()
  }
}

/**
 * The same for what the contract promises within a time. Where other programs take the CPU, the service and the one who
 * asks both get little of it, so the time is over only after as many questions as fit into it on a quiet machine.
 */
export const untilWithin = async <Value>(boundMs: number, ask: () => Value | Promise<Value>, what: string) =>
  await until(ask, what, boundMs, boundMs / 20)
