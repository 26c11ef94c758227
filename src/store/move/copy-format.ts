import type { ColumnType } from './moved-tables.ts'

/*
 * The binary format of COPY, https://www.postgresql.org/docs/current/sql-copy.html. The database writes rows in the very
 * bytes in which it has read them, so one digest is enough to compare both sides.
 */

/** A text as its bytes in UTF-8, so that none is changed on the way. */
export type CopyValue = Uint8Array | bigint | number | null

const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)])
const trailer = Buffer.from([0xff, 0xff])
const blockBytes = 64 * 1024

const sizes: Record<ColumnType, number | undefined> =
  { int8: 8, int2: 2, float8: 8, text: undefined, bytea: undefined }

const sizeOf = (type: ColumnType, value: CopyValue): number =>
  value === null ? 0 : sizes[type] ?? (value as Uint8Array).byteLength

const write = (block: Buffer, at: number, type: ColumnType, value: CopyValue): number => {
  if (value === null) return block.writeInt32BE(-1, at)
  const start = block.writeInt32BE(sizeOf(type, value), at)
  switch (type) {
    case 'int8': return block.writeBigInt64BE(BigInt(value as bigint), start)
    case 'int2': return block.writeInt16BE(Number(value), start)
    case 'float8': return block.writeDoubleBE(Number(value), start)
    case 'text': case 'bytea':
      block.set(value as Uint8Array, start)
      return start + (value as Uint8Array).byteLength
  }
}

/** Encodes rows, a block at a time. */
export function * encodeRows (
  types: readonly ColumnType[], rows: Iterable<readonly CopyValue[]>
): Generator<Buffer, void, void> {
  let block = Buffer.allocUnsafe(blockBytes)
  let used = header.copy(block)
  for (const row of rows) {
    const size = types.reduce((sum, type, index) => sum + 4 + sizeOf(type, row[index] ?? null), 2)
    if (used + size > block.byteLength) {
      yield block.subarray(0, used)
      block = Buffer.allocUnsafe(Math.max(blockBytes, size))
      used = 0
    }
    used = block.writeInt16BE(types.length, used)
    for (const [index, type] of types.entries()) used = write(block, used, type, row[index] ?? null)
  }
  yield Buffer.concat([block.subarray(0, used), trailer])
}
