/**
 * Whether something has been so at every look for this long: a burst is no overload and is over soon (after K. Nichols,
 * V. Jacobson: Controlling Queue Delay, ACM Queue 10/5). `forMs`: how long it is known to have been so at the first look.
 */
export const createSustained = (now: () => number, graceMs: number): ((isSo: boolean, forMs?: number) => boolean) => {
  let since: number | null = null
  return (isSo, forMs = 0) => {
    since = isSo ? since ?? now() - forMs : null
    return since !== null && now() - since >= graceMs
  }
}
