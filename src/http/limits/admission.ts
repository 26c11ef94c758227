/*
 * Admission control for the requests of one event loop.
 *
 * A queue that is empty again soon is a burst and no overload; only a delay that persists is (CoDel: K. Nichols and
 * V. Jacobson, Controlling Queue Delay, ACM Queue 10/5, 2012). While it persists, each iteration of the loop admits as
 * many requests as it can afford and rejects the rest before any work is done for them (load shedding: Site Reliability
 * Engineering, O'Reilly 2016, chapters 21 and 22).
 *
 * The cost of a request is time on the processor: rejecting requests shortens neither a wait for the disk nor one for a
 * core. What rejections cost is left out of it, or a flood of them would leave nothing for the others. Where requests
 * cost little more than their rejection, shedding would serve fewer and no faster: then all are admitted.
 */

/** How long a delay persists before it counts as overload. */
export const graceMs = 2000
const iterationMsMax = 40
const admittedMin = 8
// By how much an iteration may admit more than the one before.
const growth = 1.5
// Node spends as much again on reading a rejected request and on ending its response as the rejection itself takes.
const aroundRejection = 2
// Of an average request. A rejection takes a third of that, and a poll half.
const cheapMs = 0.1
// A quota above this is no limit.
const quotaMax = 100_000

export type AdmissionNeeds = {
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** In [0, 1). */
  random: () => number
}

/** A request that waits for the decision: one of the two is called, once; neither may throw. */
export type PendingRequest = { admit: () => void, reject: () => void }

export type AdmissionControl = {
  /** Whether a request that has just arrived can be handled at once, as nearly always. If so, it counts as admitted. */
  tryAdmit: () => boolean
  /** Decides at the end of this iteration of the event loop. */
  defer: (request: PendingRequest) => void
}

/**
 * Returns whether a condition has held at every check for `graceMs`. `forMs`: how long it has held already when a check
 * finds it for the first time.
 */
export const createSustained = (now: () => number, graceMs: number): ((holds: boolean, forMs?: number) => boolean) => {
  let since: number | null = null
  return (holds, forMs = 0) => {
    since = holds ? since ?? now() - forMs : null
    return since !== null && now() - since >= graceMs
  }
}

/** Admits so many of the requests, drawn at random, and rejects the others. Returns how many ms of work rejecting took. */
const settle = (requests: PendingRequest[], admitted: number, { busyMs, random }: AdmissionNeeds): number => {
  const rejected: PendingRequest[] = []
  let left = admitted
  // At random, not the first: clients that are served first also return first, and would starve the rest.
  for (const [at, request] of requests.entries()) {
    if (random() * (requests.length - at) >= left) rejected.push(request)
    else {
      left--
      request.admit()
    }
  }
  if (rejected.length === 0) return 0
  const before = busyMs()
  for (const { reject } of rejected) reject()
  return aroundRejection * (busyMs() - before)
}

/** Limits how many requests an iteration of the event loop admits, once iterations have been too long for a while. */
export const createAdmissionControl = (needs: AdmissionNeeds): AdmissionControl => {
  const { monotonicNow: now, busyMs } = needs
  const isSustained = createSustained(now, graceMs)
  let quota = Infinity
  let pending: PendingRequest[] = []
  // All work since `busyBefore` is set against `admitted`: a request does part of its work after its own iteration.
  let [admitted, rejectionMs, busyBefore] = [0, 0, 0]
  let [isWatching, hasRequests] = [false, false]
  let idleSince = now()

  const nextQuota = (spentMs: number): number => {
    // The first iteration whose requests were deferred has admitted none, and shows no cost.
    if (admitted === 0) return quota
    if (!isSustained(spentMs > iterationMsMax / 2, spentMs)) return quota > quotaMax ? Infinity : quota * growth
    const workMs = Math.max(1, spentMs - rejectionMs)
    return workMs < admitted * cheapMs ? Infinity : Math.max(admittedMin, Math.min(admitted * iterationMsMax / workMs, quota * growth))
  }

  const endIteration = () => {
    if (!hasRequests) {
      // An iteration without requests: there is room, and the work until the next request is not done for requests.
      [isWatching, idleSince] = [false, now()]
      isSustained(false)
      return
    }
    hasRequests = false
    quota = nextQuota(busyMs() - busyBefore)
    busyBefore = busyMs()
    // A connection that is answered now may bring its next request at once: that one belongs to the next iteration.
    const requests = pending
    pending = []
    admitted = Math.min(requests.length, Math.floor(quota))
    rejectionMs = settle(requests, admitted, needs)
    setImmediate(endIteration)
  }

  const beginWatching = () => {
    if (now() - idleSince >= graceMs) quota = Infinity;
    [admitted, rejectionMs, busyBefore, isWatching] = [0, 0, busyMs(), true]
    setImmediate(endIteration)
  }

  return {
    tryAdmit: () => {
      if (!isWatching) beginWatching()
      hasRequests = true
      if (quota < Infinity) return false
      admitted++
      return true
    },
    defer: request => { pending.push(request) }
  }
}
