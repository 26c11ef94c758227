import { CursorMalformed } from '../../errors.ts'
import { toReaders } from '../records.ts'
import type { Change, ChangeLog, Cursor, Follower } from '../change-log.ts'
import type { Database } from './database.ts'
import { guardRead } from './transact.ts'

export type ChangeLogNeeds = { database: Database, incarnation: string }

type Row = { version: number, jobId: string, readersBefore: string | null, readersAfter: string | null }

/** The changes after `start`, which is further on than the position that was asked for if there is a gap. */
type Found = { rows: Row[], start: number, isGap: boolean }

// SQLite has one writer at a time and draws the version within its transaction, so versions rise in the order of the
// commits: a follower that has read up to a version has missed none below it. A cursor is that version, and the
// incarnation, since a restored backup draws the same versions again for other changes.
const cursorForm = /^([0-9a-z]+)-(0|[1-9]\d{0,15})$/

type LogReads = {
  database: Database
  read: (position: number, limit: number) => Found
  readDataVersion: () => number | undefined
  toCursor: (version: number) => Cursor
}

const followerFactory = (
  { database, read, readDataVersion, toCursor }: LogReads
) => (from: number, fromCursor: Cursor): Follower => {
  let position = from
  let cursor = fromCursor
  let pageEnd = from
  let seenDataVersion: number | undefined
  let pageDataVersion: number | undefined
  const toChange = ({ version, jobId, readersBefore, readersAfter }: Row): Change => ({
    jobId,
    version,
    cursor: toCursor(version),
    readersBefore: toReaders(readersBefore),
    readersAfter: toReaders(readersAfter)
  })
  return {
    next: async limit => guardRead(database, () => {
      // Read before the log: a commit in between is then read again rather than missed.
      const dataVersion = readDataVersion()
      if (dataVersion === seenDataVersion) return { changes: [], isGap: false, isLast: true }
      const { rows, start, isGap } = read(position, limit)
      const isLast = rows.length < limit
      pageEnd = rows.at(-1)?.version ?? start
      pageDataVersion = isLast ? dataVersion : undefined
      return { changes: rows.map(toChange), isGap, isLast }
    }),
    accept: () => {
      position = pageEnd
      seenDataVersion = pageDataVersion
      cursor = toCursor(position)
    },
    cursor: () => cursor
  }
}

export const createChangeLog = ({ database, incarnation }: ChangeLogNeeds): ChangeLog => {
  const { reader, writer } = database
  // The counter of the AUTOINCREMENT key: the newest row may have been pruned.
  const newestStatement = reader.prepare<[], number>("SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'").pluck()
  const oldestStatement = reader.prepare<[number], number>(
    writer.selectFrom('JobChange').select('version').orderBy('version').limit(1).compile().sql
  ).pluck()
  const afterStatement = reader.prepare<[number, number], Row>(
    writer.selectFrom('JobChange').select(['version', 'jobId', 'readersBefore', 'readersAfter'])
      .where('version', '>', 0).orderBy('version').limit(0).compile().sql
  )
  // A number that moves when another connection has committed, the writer's included. It costs no read of the file.
  const dataVersionStatement = reader.prepare<[], number>('PRAGMA data_version').pluck()

  const readNewest = () => newestStatement.get() ?? 0
  // One snapshot: a prune between two of these reads would be a gap that is not noticed.
  const read = reader.transaction((position: number, limit: number): Found => {
    const oldest = oldestStatement.get(1) ?? readNewest() + 1
    const start = Math.max(position, oldest - 1)
    return { rows: afterStatement.all(start, limit), start, isGap: start > position }
  })

  const toCursor = (version: number): Cursor => `${incarnation}-${version}`
  const toPosition = (cursor: Cursor, newest: number): number => {
    const [, of, digits] = cursorForm.exec(cursor) ?? []
    if (of === undefined) throw new CursorMalformed()
    // None of the changes of another incarnation is known here: every log begins after version -1.
    if (of !== incarnation) return -1
    const position = Number(digits)
    if (position > newest) throw new CursorMalformed()
    return position
  }

  const readDataVersion = () => dataVersionStatement.get()
  const createFollower = followerFactory({ database, read, readDataVersion, toCursor })

  return {
    follow: async from => guardRead(database, () => {
      const newest = readNewest()
      return from === undefined
        ? createFollower(newest, toCursor(newest))
        : createFollower(toPosition(from, newest), from)
    }),
    prune: async (tx, before, limit) => {
      // In the order of the versions: a search by time would read every younger change.
      const oldest = tx.selectFrom('JobChange').select(['version', 'at']).orderBy('version').limit(limit)
      const old = tx.selectFrom(oldest.as('oldest')).select('version').where('at', '<', before)
      const { numDeletedRows } = await tx.deleteFrom('JobChange').where('version', 'in', old).executeTakeFirst()
      return Number(numDeletedRows)
    },
    onAnnounced: () => () => {},
    isAnnounced: false
  }
}
