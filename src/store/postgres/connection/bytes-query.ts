import pg from 'pg'

/*
 * pg copies the parameters of a statement into a new buffer. For large ones that takes a third of the CPU of an upload,
 * and tens of megabytes wait for the garbage collector. This query is one like any other, and writes large bytes to the
 * socket as they are, so they must stay unchanged until it is answered.
 */

// Below this a copy costs less than a write of its own.
const copiedMax = 16 * 1024

const isLarge = (value: unknown): value is Uint8Array => value instanceof Uint8Array && value.byteLength > copiedMax

/** Whether a statement has parameters that are worth it. */
export const hasLargeBytes = (values: readonly unknown[]): boolean => values.some(isLarge)

/** Called by pg with the failure or the result. */
type Callback = (error: Error | null, result: pg.QueryResult) => void

interface Submittable {
  submit (connection: pg.Connection): void
}

// The types of pg have the part of the class that users need.
const Query = pg.Query as unknown as new (
  config: pg.QueryConfig, values: undefined, callback: Callback
) => Submittable

const int16 = (...numbers: number[]): Buffer => {
  const buffer = Buffer.allocUnsafe(2 * numbers.length)
  for (const [index, number] of numbers.entries()) buffer.writeInt16BE(number, 2 * index)
  return buffer
}

const int32 = (number: number): Buffer => {
  const buffer = Buffer.allocUnsafe(4)
  buffer.writeInt32BE(number)
  return buffer
}

/** A value of a statement, as the service has them. */
type Value = Uint8Array | string | number | null

const toBytes = (value: Value): Uint8Array | null =>
  typeof value === 'number' || typeof value === 'string' ? Buffer.from(String(value)) : value

/**
 * The message Bind of a statement, for the portal without a name, in the parts in which it is written. See
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
const toBind = (statement: string, values: readonly Value[]): Uint8Array[] => {
  const parts: Uint8Array[] = []
  let small: Uint8Array[] = [
    Buffer.from(`\0${statement}\0`), int16(values.length, ...values.map(value => value instanceof Uint8Array ? 1 : 0), values.length)
  ]
  for (const value of values.map(toBytes)) {
    small.push(int32(value?.byteLength ?? -1))
    if (value === null) continue
    if (isLarge(value)) {
      parts.push(Buffer.concat(small), value)
      small = []
    } else {
      small.push(value)
    }
  }
  // The results as text.
  parts.push(Buffer.concat([...small, int16(1, 0)]))
  const size = parts.reduce((sum, { byteLength }) => sum + byteLength, 4)
  return [Buffer.concat([Buffer.from('B'), int32(size), parts[0] ?? Buffer.alloc(0)]), ...parts.slice(1)]
}

export class BytesQuery extends Query {
  constructor (config: pg.QueryConfig, callback: Callback) {
    super(config, undefined, callback)
  }

  // pg calls it.
  override submit (connection: pg.Connection): void {
    const bind: pg.Connection['bind'] = config => {
      for (const part of toBind(config?.statement ?? '', (config?.values ?? []) as Value[])) connection.stream.write(part)
    }
    return super.submit(Object.create(connection, { bind: { value: bind } }) as pg.Connection)
  }
}
