import { createStanding } from './standing.ts'

/*
 * What is admitted in a turn of the event loop is paid for in this one or the next, so each turn may admit as many as
 * the last ones show to be affordable, in time on the processor: to wait for the disk, or for a core, is no work, and
 * refusing ends neither. What refusals take is not counted, or with enough of them nothing else would be done. And where
 * a request is hardly dearer than its refusal, refusing would serve few and be no faster: then all are accepted.
 */

const graceMs = 2000
const turnMsMax = 40
const admittedMin = 8
// By how much a turn may admit more than the one before.
const growth = 1.5
// What Node does to read a request and to end its answer takes as long again as the refusal itself.
const aroundRefusal = 2
// How many times as dear a request has to be as its refusal.
const worthRefusing = 2
// So many are no limit.
const admittedMax = 100_000

export type TurnQuotaNeeds = {
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** In [0, 1). */
  random: () => number
}

/** What to do with something that was asked for, whichever it comes to; both must not throw. */
export type Offer = { accept: () => void, refuse: () => void }

export type TurnQuota = {
  /** Whether what has just come can be done at once, as nearly always; then it is to be done. */
  admits: () => boolean
  /** Decides at the end of the turn. */
  hold: (offer: Offer) => void
}

// Any of them, not the first: those who were answered first are back first, and the others would never have their turn.
const drawFirst = <Value>(values: Value[], count: number, random: () => number): void => {
  for (let at = 0; at < count; at++) {
    const drawn = at + Math.floor(random() * (values.length - at))
    const value = values[at] as Value
    values[at] = values[drawn] as Value
    values[drawn] = value
  }
}

/** Accepts so many of these, and refuses the others; how many ms refusing took in all. */
const settle = (offers: Offer[], accepted: number, { monotonicNow: now, random }: TurnQuotaNeeds): number => {
  drawFirst(offers, accepted, random)
  for (const { accept } of offers.slice(0, accepted)) accept()
  const began = now()
  for (const { refuse } of offers.slice(accepted)) refuse()
  return aroundRefusal * (now() - began)
}

/** Bounds what is done in a turn, once turns have been too long for a while. */
export const createTurnQuota = (needs: TurnQuotaNeeds): TurnQuota => {
  const { monotonicNow: now, busyMs } = needs
  const isStanding = createStanding(now, graceMs)
  let quota = Infinity
  let held: Offer[] = []
  let admitted = 0
  let refusalMs = 0
  let lastBusyMs = 0
  let state: 'resting' | 'between turns' | 'in a turn' = 'resting'
  let restingSince = now()

  const nextQuota = (costMs: number, refusalsMs: number): number => {
    const workMs = Math.max(1, costMs - refusalsMs)
    if (isStanding(costMs > turnMsMax / 2, costMs)) {
      const isWorthRefusing = workMs > admitted * worthRefusing * refusalMs
      return isWorthRefusing ? Math.max(admittedMin, Math.min(admitted * turnMsMax / workMs, quota * growth)) : Infinity
    }
    // What was too much is let in again step by step.
    return quota > admittedMax ? Infinity : quota * growth
  }
  const endTurn = () => {
    // Answered within the turn, a connection could bring its next request within this very turn, and so without end.
    const offers = held
    held = []
    const accepted = Math.min(offers.length, Math.floor(quota))
    admitted += accepted
    const refusalsMs = settle(offers, accepted, needs)
    if (offers.length > accepted) refusalMs = refusalsMs / (offers.length - accepted)
    const costMs = busyMs() - lastBusyMs
    lastBusyMs += costMs
    quota = nextQuota(costMs, refusalsMs)
    admitted = 0
    state = 'between turns'
    setImmediate(rest)
  }
  // A turn in which nobody asked: there is room, and what is done until somebody asks is not done for requests.
  const rest = () => {
    if (state === 'in a turn') return
    state = 'resting'
    restingSince = now()
    isStanding(false)
  }
  const beginTurn = () => {
    if (state === 'resting') {
      lastBusyMs = busyMs()
      if (now() - restingSince >= graceMs) quota = Infinity
    }
    state = 'in a turn'
    setImmediate(endTurn)
  }
  return {
    admits: () => {
      if (state !== 'in a turn') beginTurn()
      if (quota < Infinity) return false
      admitted++
      return true
    },
    hold: offer => { held.push(offer) }
  }
}
