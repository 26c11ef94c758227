import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'

/** Asks until the answer is anything but undefined or false; gives up after a bound that no healthy run comes near. */
export const until = async <Value>(ask: () => Value | Promise<Value>, what = 'the condition', limitMs = 60_000): Promise<Exclude<Value, undefined | false>> => {
  const end = performance.now() + limitMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer as Exclude<Value, undefined | false>
    if (performance.now() > end) throw new Error(`${what} did not come about within ${limitMs} ms`)
    await delay(2)
    await turn()
  }
}
