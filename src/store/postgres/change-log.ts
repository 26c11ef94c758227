import { type Kysely, sql } from 'kysely'
import { CursorMalformed } from '../../errors.ts'
import { keepStatement } from '../sql/dialect.ts'
import { toReaders } from '../records.ts'
import type { ChangeLog, ChangePage, Cursor, Follower } from '../change-log.ts'
import type { Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import {
  fromCursor, incarnationOf, isPrunedAfter, type LogPosition, positionAfter, positionAt, toCursor, toSnapshot
} from './log-position.ts'
import { guardRead } from './reads.ts'
import { serverMs } from './server-clock.ts'

/** `reads`: the database, on connections to the primary. */
type LogNeeds = { reads: Kysely<Tables>, incarnation: string }

export type ChangeLogNeeds = LogNeeds & Pick<ChangeLog, 'onAnnounced'>

/*
 * The time at which the server last threw away its statistics, which it does after a crash. No connection survives a
 * crash, so each asks once, and keeps the answer in its session.
 */
const era = sql`
  CASE coalesce(current_setting('job_status.era', true), '')
    WHEN '' THEN set_config('job_status.era', coalesce((
      SELECT floor(extract(epoch FROM stats_reset) * 1000)::bigint FROM pg_stat_bgwriter), 0)::text, false)
    ELSE current_setting('job_status.era') END`

type Moment = { snapshot: string, era: string }

const readMoment = sql<Moment>`SELECT pg_current_snapshot()::text AS snapshot, ${era} AS era`

type Row = { xid: string, version: number, jobId: string, readersBefore: string | null, readersAfter: string | null }

/** A row for each change, or one without a change; all have the moment and what was pruned by then. */
type LogRow = Moment & { belowXid: string, belowVersion: number } & (Row | { xid: null })

const columns = sql.raw('xid, version, jobId, readersBefore, readersAfter')

type ChangesAfter = { xmax: string, limit: number, unreadXids: string[], unreadTo: number[] }

/*
 * The changes that have become visible since a position, in the order of their transactions: those of transactions that
 * began after it, and those that were running then and have ended. Both are ranges of one index, so a read that finds
 * nothing takes a few pages of it, however long the log is, however old the oldest running transaction is, and however
 * much that has written. To ask instead which rows the snapshot of the position has not would read on from the oldest
 * running transaction.
 */
const changesStatement = keepStatement((_, { xmax, limit, unreadXids, unreadTo }: ChangesAfter) => sql<LogRow>`
  SELECT moment.snapshot, moment.era, pruned.belowXid::text AS "belowXid", pruned.belowVersion AS "belowVersion",
    change.xid::text AS xid, change.version, change.jobId AS "jobId", change.readersBefore AS "readersBefore",
    change.readersAfter AS "readersAfter"
  FROM (${readMoment}) AS moment CROSS JOIN JobChangePruned AS pruned LEFT JOIN LATERAL (
    (SELECT ${columns} FROM JobChange WHERE xid >= ${xmax}::xid8 ORDER BY xid, version LIMIT ${limit})
    UNION ALL
    (SELECT late.* FROM unnest(${unreadXids}::xid8[], ${unreadTo}::bigint[]) AS unread (xid, readTo)
      CROSS JOIN LATERAL (
        SELECT ${columns} FROM JobChange WHERE JobChange.xid = unread.xid AND version > unread.readTo
        ORDER BY version LIMIT ${limit}) AS late
      WHERE pg_visible_in_snapshot(unread.xid, pg_current_snapshot()))
    ORDER BY xid, version LIMIT ${limit}
  ) AS change ON true`)

const readChanges = async (
  reads: Kysely<Tables>, { xmax, unread }: LogPosition, limit: number
): Promise<LogRow[]> => (await changesStatement(reads, {
  xmax: String(xmax),
  limit,
  unreadXids: unread.map(({ xid }) => String(xid)),
  unreadTo: unread.map(({ readTo }) => readTo)
})).rows

type Place = { position: LogPosition, cursor: Cursor, isGap: boolean }

const createFollower = ({ reads, incarnation }: LogNeeds, start: Place): Follower => {
  let { position, cursor, isGap } = start
  let pageEnd = position

  const next = async (limit: number): Promise<ChangePage> => {
    const rows = await readChanges(reads, position, limit)
    const [first] = rows
    if (first === undefined) throw new Error('JobChangePruned is empty')
    const snapshot = toSnapshot(first.snapshot)
    if (Number(first.era) > position.era) {
      // Which changes the position lacks is not known: it goes on from now.
      pageEnd = positionAt(snapshot, Number(first.era))
      return { changes: [], isGap: true, isLast: true }
    }
    const found = rows.flatMap(row => row.xid === null ? [] : [row])
    const ends = found.map(({ xid, version }) => positionAfter(position, snapshot, { xid: Number(xid), version }))
    const isLast = found.length < limit
    pageEnd = (isLast ? undefined : ends.at(-1)) ?? positionAt(snapshot, position.era)
    return {
      changes: found.map((row, index) => ({
        jobId: row.jobId,
        version: row.version,
        cursor: toCursor(incarnation, ends[index] ?? position),
        readersBefore: toReaders(row.readersBefore),
        readersAfter: toReaders(row.readersAfter)
      })),
      isGap: isGap || isPrunedAfter(position, { belowXid: Number(first.belowXid), belowVersion: first.belowVersion }),
      isLast
    }
  }
  return {
    next: limit => guardRead(() => next(limit)),
    accept: () => {
      position = pageEnd
      isGap = false
      cursor = toCursor(incarnation, position)
    },
    cursor: () => cursor
  }
}

// A mark is a row of its own; so many of them are kept for each minute of the log.
const markIntervalMs = 10_000

const xminOfMark = (before: number) => sql`
  SELECT pg_snapshot_xmin(snapshot) FROM JobChangeMark WHERE at < ${Math.floor(before)} ORDER BY at DESC LIMIT 1`

/**
 * Whether the log has changes to be pruned that were made before `before` (ms since 1970), or changes that no mark
 * stands for.
 */
export const hasOldChanges = async (reads: Kysely<Tables>, before: number): Promise<boolean> => {
  const { rows: [row] } = await sql<{ has: boolean }>`
    SELECT EXISTS (SELECT 1 FROM JobChange WHERE xid < (${xminOfMark(before)}))
      OR (NOT EXISTS (SELECT 1 FROM JobChangeMark WHERE at > ${serverMs} - ${markIntervalMs}) AND EXISTS (
        SELECT 1 FROM JobChange WHERE xid >= coalesce((
          SELECT pg_snapshot_xmin(snapshot) FROM JobChangeMark ORDER BY at DESC LIMIT 1), '0'))) AS has`.execute(reads)
  return row?.has ?? false
}

const mark = sql`
  INSERT INTO JobChangeMark (at, snapshot) SELECT now, pg_current_snapshot() FROM (SELECT ${serverMs} AS now) AS moment
  WHERE NOT EXISTS (SELECT 1 FROM JobChangeMark WHERE at > now - ${markIntervalMs}) ON CONFLICT DO NOTHING`

/*
 * A change is pruned when all have been able to see it for long enough: when it was below the oldest running
 * transaction of a snapshot of that time. By its own time, a change that is committed late would be pruned before
 * anyone could read it. JobChangePruned says so in the same commit: a reader finds either the changes or that they are
 * missing.
 */
const prune = async (tx: Tx, before: number, limit: number): Promise<number> => {
  await mark.execute(tx)
  const { rows: [row] } = await sql<{ count: number }>`
    WITH gone AS (
      DELETE FROM JobChange WHERE (xid, version) IN (
        SELECT xid, version FROM JobChange WHERE xid < (${xminOfMark(before)}) ORDER BY xid, version LIMIT ${limit})
      RETURNING xid, version
    ), last AS (
      SELECT xid, version + 1 AS version FROM gone ORDER BY xid DESC, version DESC LIMIT 1
    ), noted AS (
      UPDATE JobChangePruned SET belowXid = last.xid, belowVersion = last.version FROM last
      WHERE (last.xid, last.version) > (belowXid, belowVersion)
    )
    SELECT count(*) AS count FROM gone`.execute(tx)
  await sql`DELETE FROM JobChangeMark WHERE at < (
    SELECT max(at) FROM JobChangeMark WHERE at < ${Math.floor(before)})`.execute(tx)
  return row?.count ?? 0
}

export const createChangeLog = (needs: ChangeLogNeeds): ChangeLog => {
  const { reads, incarnation, onAnnounced } = needs

  const findPlace = async (from: Cursor | undefined): Promise<Place> => {
    const { rows: [moment] } = await readMoment.execute(reads)
    const now = positionAt(toSnapshot(moment?.snapshot ?? ''), Number(moment?.era))
    if (from === undefined) return { position: now, cursor: toCursor(incarnation, now), isGap: false }
    // None of the changes of another incarnation is known here, that of a SQLite before a move included.
    if (![undefined, incarnation].includes(incarnationOf(from))) {
      return { position: { ...now, xmax: 0, unread: [] }, cursor: from, isGap: true }
    }
    const found = fromCursor(from)
    if (found === undefined) throw new CursorMalformed()
    const isOfFuture = found.position.era >= now.era && found.position.xmax > now.xmax
    if (isOfFuture) throw new CursorMalformed()
    return { position: found.position, cursor: from, isGap: false }
  }

  return {
    follow: from => guardRead(async () => createFollower(needs, await findPlace(from))),
    prune,
    onAnnounced,
    isAnnounced: true
  }
}
