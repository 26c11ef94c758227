/** A call that is still to come. */
export type Timer = { cancel: () => void }

/** Calls back after some ms unless cancelled. */
export type Schedule = (work: () => void, ms: number) => Timer
