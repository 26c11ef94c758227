/*
 * Admission control for the requests of one event loop. A queue that is empty again soon is a burst; only a delay
 * that persists is overload (CoDel: K. Nichols, V. Jacobson, Controlling Queue Delay, ACM Queue 10/5, 2012). While it
 * persists, each iteration of the loop admits as many requests as it can afford, and rejects the others before any
 * work is done for them (load shedding: Site Reliability Engineering, O'Reilly 2016, chapters 21 and 22).
 *
 * The cost of a request is time on the processor: rejections shorten neither a wait for the disk nor one for a core.
 * The cost of rejections does not count, or a flood of them would leave nothing for the others. Where requests cost
 * little more than their rejection, shedding would serve fewer and no faster: then all are admitted.
 */

/** How long a delay persists before it is overload. */
const graceMs = 2000
const iterationMsMax = 40
const admittedMin = 8
// By how much an iteration may admit more than the one before.
const growth = 1.5
// Node spends as much again on reading a rejected request and on ending its response as the rejection itself takes.
const aroundRejection = 2
// Below this an average request counts as cheap. A rejection costs a third of it, and a poll half.
const cheapMs = 0.1
// More than this is no limit.
const quotaMax = 100_000

export type AdmissionNeeds = {
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** In [0, 1). */
  random: () => number
}

/** A deferred request. One of the two is called, once, at the end of the iteration; neither may throw. */
export type PendingRequest = { admit: () => void, reject: () => void }

export type AdmissionControl = {
  /** Whether a request that has just arrived can be handled at once, which is nearly always so. If not, defer it. */
  tryAdmit: () => boolean
  defer: (request: PendingRequest) => void
}

/**
 * Returns whether a condition has held at every check for `graceMs`. `forMs`: how long it has held already when a
 * check finds it for the first time.
 */
export const createSustained = (now: () => number): ((holds: boolean, forMs?: number) => boolean) => {
  let since: number | null = null
  return (holds, forMs = 0) => {
    since = holds ? since ?? now() - forMs : null
    return since !== null && now() - since >= graceMs
  }
}

/** Limits how many requests an iteration of the event loop admits, once iterations have been too long for a while. */
export const createAdmissionControl = ({ monotonicNow, busyMs, random }: AdmissionNeeds): AdmissionControl => {
  const isSustained = createSustained(monotonicNow)
  let quota = Infinity
  let pending: PendingRequest[] = []
  let [isWatching, hasRequests] = [false, false]
  let idleSince = monotonicNow()
  // A request does part of its work after its own iteration: all work since `busyBefore` counts for those admitted
  // since.
  let [admitted, rejectionMs, busyBefore] = [0, 0, 0]

  const nextQuota = (spentMs: number): number => {
    // The limit has just begun to apply: no request was admitted yet whose cost could be measured.
    if (admitted === 0) return quota
    if (!isSustained(spentMs > iterationMsMax / 2, spentMs)) return quota > quotaMax ? Infinity : quota * growth
    const workMs = Math.max(1, spentMs - rejectionMs)
    if (workMs < admitted * cheapMs) return Infinity
    return Math.max(admittedMin, Math.min(admitted * iterationMsMax / workMs, quota * growth))
  }

  const settle = (requests: PendingRequest[]) => {
    const rejected: PendingRequest[] = []
    let left = admitted = Math.min(requests.length, Math.floor(quota))
    // At random, not the first: clients that are served first also return first, and would starve the others.
    for (const [at, request] of requests.entries()) {
      if (random() * (requests.length - at) >= left) rejected.push(request)
      else {
        left--
        request.admit()
      }
    }
    const before = rejected.length === 0 ? 0 : busyMs()
    for (const { reject } of rejected) reject()
    rejectionMs = rejected.length === 0 ? 0 : aroundRejection * (busyMs() - before)
  }

  const endIteration = () => {
    isWatching = hasRequests
    if (!hasRequests) {
      // No request arrived in this iteration, so that work until the next one is not done for requests.
      isSustained(false)
      idleSince = monotonicNow()
      return
    }
    hasRequests = false
    quota = nextQuota(busyMs() - busyBefore)
    busyBefore = busyMs()
    // A connection that is answered now may bring its next request at once: that one belongs to the next iteration.
    const requests = pending
    pending = []
    settle(requests)
    setImmediate(endIteration)
  }

  return {
    tryAdmit: () => {
      if (!isWatching) {
        // A shorter pause keeps the limit, as CoDel resumes its rate: the clients that return would overload it again.
        if (monotonicNow() - idleSince >= graceMs) quota = Infinity;
        [admitted, rejectionMs, busyBefore, isWatching] = [0, 0, busyMs(), true]
        setImmediate(endIteration)
      }
      hasRequests = true
      if (quota < Infinity) return false
      admitted++
      return true
    },
    defer: request => { pending.push(request) }
  }
}
