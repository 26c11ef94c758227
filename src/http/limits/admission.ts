import { createSustained } from './standing.ts'

/*
 * What is admitted in a turn of the event loop is paid for until the end of the next one, so each turn may admit as many
 * as the last ones show to be affordable, in time on the processor: to wait for the disk, or for a core, is no work, and
 * refusing ends neither. What refusals take is not counted, or with enough of them nothing else would be done. And where
 * requests are hardly dearer than their refusal, refusing would serve few and be no faster: then all are accepted.
 */

const graceMs = 2000
const turnMsMax = 40
const admittedMin = 8
// By how much a turn may admit more than the one before.
const growth = 1.5
// What Node does to read a request and to end its answer takes as long again as the refusal itself.
const aroundRefusal = 2
// On average. A refusal takes a third of that, and a poll half.
const cheapMs = 0.1
// So many are no limit.
const admittedMax = 100_000

export type AdmissionNeeds = {
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** In [0, 1). */
  random: () => number
}

/** What to do with something that was asked for, whichever it comes to; both must not throw. */
export type PendingRequest = { admit: () => void, reject: () => void }

export type AdmissionControl = {
  /** Whether what has just come can be done at once, as nearly always; then it is to be done. */
  tryAdmit: () => boolean
  /** Decides at the end of the turn. */
  defer: (offer: PendingRequest) => void
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

/** Accepts so many of these, and refuses the others; how many ms of work refusing took. */
const settle = (offers: PendingRequest[], accepted: number, { busyMs, random }: AdmissionNeeds): number => {
  drawFirst(offers, accepted, random)
  for (const { admit } of offers.slice(0, accepted)) admit()
  if (offers.length === accepted) return 0
  const before = busyMs()
  for (const { reject } of offers.slice(accepted)) reject()
  return aroundRefusal * (busyMs() - before)
}

/** Bounds what is done in a turn, once turns have been too long for a while. */
export const createAdmissionControl = (needs: AdmissionNeeds): AdmissionControl => {
  const { monotonicNow: now, busyMs } = needs
  const isSustained = createSustained(now, graceMs)
  let quota = Infinity
  let held: PendingRequest[] = []
  // Since these, everything counts: what was accepted at the end of a turn does part of its work later.
  let [admitted, refusalsMs, busyBefore] = [0, 0, 0]
  let state: 'resting' | 'between turns' | 'in a turn' = 'resting'
  let restingSince = now()

  const nextQuota = (): number => {
    // The first turn whose requests were held tells nothing.
    if (admitted === 0) return quota
    const costMs = busyMs() - busyBefore
    const workMs = Math.max(1, costMs - refusalsMs)
    if (isSustained(costMs > turnMsMax / 2, costMs)) {
      return workMs < admitted * cheapMs ? Infinity : Math.max(admittedMin, Math.min(admitted * turnMsMax / workMs, quota * growth))
    }
    // What was too much is let in again step by step.
    return quota > admittedMax ? Infinity : quota * growth
  }
  const endTurn = () => {
    quota = nextQuota()
    busyBefore = busyMs()
    // Answered within the turn, a connection could bring its next request within this very turn, and so without end.
    const offers = held
    held = []
    admitted = Math.min(offers.length, Math.floor(quota))
    refusalsMs = settle(offers, admitted, needs)
    state = 'between turns'
    setImmediate(rest)
  }
  // A turn in which nobody asked: there is room, and what is done until somebody asks is not done for requests.
  const rest = () => {
    if (state === 'in a turn') return
    state = 'resting'
    restingSince = now()
    isSustained(false)
  }
  const beginTurn = () => {
    if (state === 'resting') {
      [admitted, refusalsMs, busyBefore] = [0, 0, busyMs()]
      if (now() - restingSince >= graceMs) quota = Infinity
    }
    state = 'in a turn'
    setImmediate(endTurn)
  }
  return {
    tryAdmit: () => {
      if (state !== 'in a turn') beginTurn()
      if (quota < Infinity) return false
      admitted++
      return true
    },
    defer: offer => { held.push(offer) }
  }
}
