import type { SingleFlight } from '../../src/status/single-flight.ts'

/** A single flight that joins a load that is already running, as ordinary memoizers of promises do: G1 does not hold with it. */
export const joinRunning = <Value>(load: SingleFlight<Value>): SingleFlight<Value> => {
  const running = new Map<string, Promise<Value>>()
  return key => {
    const found = running.get(key)
    if (found !== undefined) return found
    const loading = load(key).finally(() => { running.delete(key) })
    running.set(key, loading)
    return loading
  }
}
