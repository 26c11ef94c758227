import { ConnectionLost, DatabaseReplaced } from '../failures.ts'

/*
 * While the server does not answer, statements fail at once. Without this a read would wait for a connection, for the
 * reads before it and for its own answer, each up to a time limit that a healthy server needs under load: 14 s in all.
 */

/** Called if the circuit opens while something is under way. */
export type Cut = (failure: Error) => void

export type Circuit = {
  /** Throws the failure that has opened the circuit. */
  requireClosed: () => void
  /** Returns what ends the registration. */
  enter: (cut: Cut) => () => void
  /**
   * Waits for a connection until the circuit opens, then rejects with its failure. One that comes later is released.
   */
  admit: <Client extends { release: () => void }>(connecting: Promise<Client>) => Promise<Client>
  /** From now on everything fails at once, and so does what is under way. */
  open: (failure: Error) => void
  /** The server answers again. A database that was replaced stays so. */
  close: () => void
}

export const createCircuit = (): Circuit => {
  let failure: Error | null = null
  const underWay = new Set<Cut>()
  const enter: Circuit['enter'] = cut => {
    underWay.add(cut)
    return () => { underWay.delete(cut) }
  }
  return {
    requireClosed: () => { if (failure !== null) throw failure },
    enter,
    admit: connecting => new Promise((resolve, reject) => {
      let isCut = false
      const leave = enter(failure => {
        isCut = true
        reject(failure)
      })
      connecting.then(client => {
        leave()
        if (isCut) client.release()
        else resolve(client)
      }, (error: Error) => {
        leave()
        reject(error)
      })
    }),
    open: cause => {
      if (failure instanceof DatabaseReplaced) return
      failure = cause
      const cuts = [...underWay]
      underWay.clear()
      for (const cut of cuts) cut(cause)
    },
    close: () => { if (!(failure instanceof DatabaseReplaced)) failure = null }
  }
}

// A standstill of this process fails one read, whose answer is there; and on a loaded server a read may be slow once.
const unansweredMin = 3
const silentMs = 1500
// What fails sooner, such as a connection that is refused, holds nothing up.
const unansweredMs = 400

export type ProbeNeeds = {
  circuit: Circuit
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

/**
 * The same read, as the probe of the circuit: it opens once several reads in a row were not answered, and closes with
 * the next answer. For reads that are made all the time and have a time limit of half a second.
 */
export const asProbe = <Value>(
  read: () => Promise<Value>, { circuit, monotonicNow }: ProbeNeeds
): (() => Promise<Value>) => {
  let unanswered = 0
  let answeredAt = monotonicNow()
  return async () => {
    const beganAt = monotonicNow()
    try {
      const value = await read()
      unanswered = 0
      answeredAt = monotonicNow()
      circuit.close()
      return value
    } catch (error) {
      if (error instanceof ConnectionLost && monotonicNow() - beganAt >= unansweredMs) {
        unanswered++
        if (unanswered >= unansweredMin && monotonicNow() - answeredAt >= silentMs) circuit.open(error)
      }
      throw error
    }
  }
}
