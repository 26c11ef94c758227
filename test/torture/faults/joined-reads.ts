import { replaceModule } from './replace.ts'

/*
 * A service whose readers join a read of the store that is under way, as ordinary memoizers of promises do.
 */

replaceModule('status/single-flight.ts', 'data:text/javascript,' + encodeURIComponent(`
  export const createSingleFlight = load => {
    const flights = new Map()
    return key => {
      const running = flights.get(key)
      if (running !== undefined) return running
      const flight = load(key).finally(() => flights.delete(key))
      flights.set(key, flight)
      return flight
    }
  }`))
