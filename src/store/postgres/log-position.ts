/*
 * How far a reader of the change log has come.
 *
 * Postgres commits transactions in another order than that in which they draw versions, so no version is a place in the
 * log. A snapshot is: it says which transactions had committed when it was taken. A page of the log can end within a
 * snapshot, and within a transaction, so a position is a snapshot of its own: of what was read.
 */

/** As `pg_current_snapshot` says it: below `xmax` all transactions have ended, except those that are `running`. */
export type Snapshot = { xmax: number, running: readonly number[] }

/** A transaction that was not read, or no further than to one of its versions; 0: not at all. */
export type Unread = { xid: number, readTo: number }

/**
 * Of transactions below `xmax`, all changes were read, except those of the `unread` ones. `era` names the time since
 * the last crash of the server: a crash may lose transactions that had ended without effect, or without waiting for the
 * disk, and their numbers are then used again.
 */
export type LogPosition = { era: number, xmax: number, unread: readonly Unread[] }

export const toSnapshot = (text: string): Snapshot => {
  const [, xmax, running = ''] = text.split(':')
  return { xmax: Number(xmax), running: running === '' ? [] : running.split(',').map(Number) }
}

/** Everything that a snapshot has was read. */
export const positionAt = ({ xmax, running }: Snapshot, era: number): LogPosition =>
  ({ era, xmax, unread: running.map(xid => ({ xid, readTo: 0 })) })

/** Where a page comes to with one of its changes. It was read after `from`, in the order of the transactions. */
export const positionAfter = (
  from: LogPosition, { running }: Snapshot, { xid, version }: { xid: number, version: number }
): LogPosition => {
  const later = from.unread.filter(other => other.xid > xid)
  const earlier = from.unread.filter(other => other.xid < xid && running.includes(other.xid))
  const newer = running.filter(other => other >= from.xmax && other < xid).map(other => ({ xid: other, readTo: 0 }))
  return {
    era: from.era,
    xmax: Math.max(from.xmax, xid + 1),
    unread: [...earlier, ...newer, { xid, readTo: version }, ...later].toSorted((a, b) => a.xid - b.xid)
  }
}

/** What was pruned of the log: the changes before this one, in the order of the transactions. */
export type Pruned = { belowXid: number, belowVersion: number }

/** Whether a change that was not read may have been pruned. */
export const isPrunedAfter = ({ xmax, unread }: LogPosition, { belowXid, belowVersion }: Pruned): boolean =>
  [...unread, { xid: xmax, readTo: 0 }].some(({ xid, readTo }) =>
    xid < belowXid || (xid === belowXid && readTo + 1 < belowVersion))

// The numbers to the base of 36. The transactions that were not read count down from xmax, which comes last: with more
// digits behind it, a cursor would be of transactions that have not begun yet.
const cursorForm = /^([0-9a-z]+)-([0-9a-z]{1,10})((?:-[0-9a-z]{1,11}(?:V[0-9a-z]{1,11})?)*)-([0-9a-z]{1,11})$/

const toDigits = (value: number): string => value.toString(36)
const toNumber = (digits: string): number => Number.parseInt(digits, 36)

/** A position as text of letters, digits and hyphens. */
export const toCursor = (incarnation: string, { era, xmax, unread }: LogPosition): string => [
  incarnation,
  toDigits(era),
  ...unread.map(({ xid, readTo }) => toDigits(xmax - xid) + (readTo === 0 ? '' : `V${toDigits(readTo)}`)),
  toDigits(xmax)
].join('-')

/** The position of a cursor, and the incarnation of which it is; undefined if the text is none. */
export const fromCursor = (cursor: string): { incarnation: string, position: LogPosition } | undefined => {
  const [, incarnation, era, unread, last] = cursorForm.exec(cursor) ?? []
  if (incarnation === undefined || era === undefined || unread === undefined || last === undefined) return undefined
  const xmax = toNumber(last)
  const position = {
    era: toNumber(era),
    xmax,
    unread: unread.split('-').slice(1).map(text => {
      const [distance = '', readTo = '0'] = text.split('V')
      return { xid: xmax - toNumber(distance), readTo: toNumber(readTo) }
    })
  }
  return toCursor(incarnation, position) === cursor ? { incarnation, position } : undefined
}

// What SQLite's change log hands out.
const sqliteForm = /^([0-9a-z]+)-(?:0|[1-9]\d{0,15})$/

/** The incarnation of a cursor of any database of this service; undefined if the text is none. */
export const incarnationOf = (cursor: string): string | undefined =>
  fromCursor(cursor)?.incarnation ?? sqliteForm.exec(cursor)?.[1]
