/** Loads by key. */
export type SingleFlight<Value> = (key: string) => Promise<Value>

/**
 * Shares one load among callers that ask for the same key, but only a load that has not started yet: one under way may
 * have read before the caller asked, and would return something older than an acknowledgement that the caller has seen.
 * So a key has two slots, `running` and `next`; a caller that comes while one runs shares the next. An ordinary
 * memoizer of promises would join the running one.
 */
export const createSingleFlight = <Value>(load: SingleFlight<Value>): SingleFlight<Value> => {
  const flights = new Map<string, { running: Promise<Value>, next: Promise<Value> | null }>()

  const start = (key: string): Promise<Value> => {
    const running = load(key)
    const flight = { running, next: null }
    flights.set(key, flight)
    const land = () => { if (flights.get(key) === flight && flight.next === null) flights.delete(key) }
    running.then(land, land)
    return running
  }

  return key => {
    const flight = flights.get(key)
    if (flight === undefined) return start(key)
    flight.next ??= flight.running.then(() => start(key), () => start(key))
    return flight.next
  }
}
