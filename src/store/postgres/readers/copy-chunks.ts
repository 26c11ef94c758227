import pg from 'pg'
import type { Chunk } from '../../chunks.ts'
import { copyOut } from '../connection/driver.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

/*
 * Chunks are read by COPY: pg reads the values of rows as text, in which each byte is two digits. So read, a gigabyte
 * takes eight times as much CPU. COPY takes no parameters.
 */

// A read has so many in memory after the first one, which alone is enough for most. The connection is free again before
// the client has got them.
const chunksAtOnce = 4

const { escapeLiteral } = pg

/** A text or a whole number as a part of a statement. */
export const literal = (value: string | number): string =>
  typeof value === 'number' ? String(Math.trunc(value)) : escapeLiteral(value)

// A signature of 11 bytes, flags of 4, and an extension with its length.
const extensionLengthAt = 15
const headerLength = (first: Buffer): number => 19 + first.readInt32BE(extensionLengthAt)

// Of a row: the number of its fields, and each field behind its length. The last message has no fields.
const toChunk = (row: Buffer, at: number): Chunk => {
  const bytesAt = at + 2 + 4 + 8
  const length = row.readInt32BE(bytesAt)
  return { startOffset: Number(row.readBigInt64BE(at + 2 + 4)), bytes: row.subarray(bytesAt + 4, bytesAt + 4 + length) }
}

/**
 * Reads the first chunks of a query, which selects `startOffset` and `bytes` in their order, without a limit: one for the
 * first read of some bytes, a few for the others. Rejects with STORE_UNAVAILABLE.
 */
export const copyChunks = (
  { pools }: Pick<Database, 'pools'>, query: string, { isFirst }: { isFirst: boolean }
): Promise<Chunk[]> => guardRead(async () => {
  const limit = isFirst ? 1 : chunksAtOnce
  const rows = await copyOut(pools.reads, `COPY (${query} LIMIT ${limit}) TO STDOUT (FORMAT binary)`)
  const [first] = rows
  if (first === undefined) throw new Error('a COPY without a header')
  return rows.slice(0, -1).map((row, index) => toChunk(row, index === 0 ? headerLength(first) : 0))
})

/** Reads some chunks of an input from an offset on. Rejects with STORE_UNAVAILABLE. */
export const copyInputChunks = (
  database: Pick<Database, 'pools'>, inputId: string, offset: number
): Promise<Chunk[]> => copyChunks(database, `
  SELECT startOffset, bytes FROM JobInputChunk
  WHERE inputId = ${literal(inputId)} AND startOffset >= ${literal(offset)} ORDER BY startOffset`, {
  isFirst: offset === 0
})
