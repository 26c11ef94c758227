/** Calls back after some ms, unless cancelled. */
export type Schedule = (work: () => void, ms: number) => { cancel: () => void }
