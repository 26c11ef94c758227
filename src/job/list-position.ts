/** A place in the list: newest first, by the creation (ms since 1970), then by `seq`, the order of insertion. */
export type ListPosition = { createdMs: number, seq: number }
