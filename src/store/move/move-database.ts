import { createHash, type Hash } from 'node:crypto'
import { MoveFailed } from '../errors.ts'
import { type CopyValue, encodeRows } from './copy-format.ts'
import { type MovedTable, movedTables } from './moved-tables.ts'

/*
 * Moves a service from one database to another: one transaction at the target, so a move that is cut leaves nothing and
 * is simply run again. Each table is read back and compared before the next one.
 */

/** A key that the service has made for itself, and its name. */
export type OwnKey = { name: string, key: string }

/** The source as a whole. `version`: the newest drawn. `lastWrittenAt` in ms since 1970. */
export type SourceFacts = {
  incarnation: string
  version: number
  lastWrittenAt: number
  /** What the service keeps of its own state, by name, without the incarnation. */
  state: ReadonlyMap<string, string>
}

/** A database that no service uses, at one moment. */
export type MoveSource = {
  /** Finds values that the target cannot hold, one line each: the first `limit`, and how many there are. */
  findUnmovable: (limit: number) => { lines: string[], count: number }
  facts: SourceFacts
  /** Columns that other programs have added to the record. They do not move. */
  foreignColumns: readonly string[]
  rows: (table: MovedTable) => Iterable<readonly CopyValue[]>
  close: () => void
}

/** How rows get into the target and out again, in the format of COPY. `copyIn` returns how many there were. */
export type TargetTables = {
  copyIn: (table: MovedTable, blocks: Iterable<Uint8Array>) => Promise<number>
  copyOut: (table: MovedTable) => AsyncIterable<Uint8Array>
}

export type MoveTarget = {
  /**
   * Fills the empty tables within one transaction that also takes over the rest. Null: the same source was moved here
   * before, and nothing is done. Throws MoveFailed if the target has jobs of its own.
   */
  fill: <Value>(
    facts: SourceFacts, keys: readonly OwnKey[], work: (tables: TargetTables) => Promise<Value>
  ) => Promise<Value | null>
  close: () => Promise<void>
}

/** A table that was copied and read back. `sha256` is of its rows as COPY has them. */
export type MovedRows = { table: string, rows: number, bytes: number, sha256: string }

export type MoveNeeds = {
  source: MoveSource
  target: MoveTarget
  keys: readonly OwnKey[]
  onTable: (moved: MovedRows) => void
}

const linesMax = 20

const requireMovable = ({ findUnmovable }: MoveSource): void => {
  const { lines, count } = findUnmovable(linesMax)
  if (count === 0) return
  const more = count > lines.length ? [`and ${count - lines.length} more`] : []
  throw new MoveFailed(['nothing was moved: Postgres cannot hold these values', ...lines, ...more])
}

type Digest = { hash: Hash, bytes: number }

function * observe (blocks: Iterable<Buffer>, digest: Digest): Generator<Buffer, void, void> {
  for (const block of blocks) {
    digest.hash.update(block)
    digest.bytes += block.byteLength
    yield block
  }
}

const createDigest = (): Digest => ({ hash: createHash('sha256'), bytes: 0 })

const moveTable = async (source: MoveSource, target: TargetTables, table: MovedTable): Promise<MovedRows> => {
  const sent = createDigest()
  const types = table.columns.map(({ type }) => type)
  const rows = await target.copyIn(table, observe(encodeRows(types, source.rows(table)), sent))
  const stored = createHash('sha256')
  for await (const block of target.copyOut(table)) stored.update(block)
  const sha256 = sent.hash.digest('hex')
  if (stored.digest('hex') !== sha256) {
    throw new MoveFailed([`nothing was moved: ${table.name} is not the same in the target as in the source`])
  }
  return { table: table.name, rows, bytes: sent.bytes, sha256 }
}

/** Moves everything, or nothing. Null: it was moved before. Throws MoveFailed, and what the databases throw. */
export const moveDatabase = async ({ source, target, keys, onTable }: MoveNeeds): Promise<MovedRows[] | null> => {
  requireMovable(source)
  return await target.fill(source.facts, keys, async tables => {
    const moved: MovedRows[] = []
    for (const table of movedTables) {
      const each = await moveTable(source, tables, table)
      moved.push(each)
      onTable(each)
    }
    return moved
  })
}
