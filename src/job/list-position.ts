/**
 * A place in the list: newest first, by the time of creation (ms since 1970), then by `seq`, the order of insertion.
 * `createdMs` null: a time that SQLite cannot read; such rows come last.
 */
export type ListPosition = { createdMs: number | null, seq: number }
