import type { Socket } from 'node:net'
import pg from 'pg'
import { freeMemory } from '../../../job/chunks.ts'

/*
 * A query of pg leaves out what a COPY … TO STDOUT writes, and its parser copies a row of 256 KiB about four times: for
 * a result of 1 GiB the garbage collector then takes half of the CPU of the download. So this query takes the rows from
 * the socket itself, each into memory of its own, and leaves to pg the messages around them. It is in everything else,
 * such as time limits and errors, a query like any other. pg-copy-streams leaves the time limit of pg running, which
 * later fails a stream that has ended.
 */

// https://www.postgresql.org/docs/current/protocol-message-formats.html
const copyData = 0x64
const readyForQuery = 0x5a
const headerBytes = 5

/** Gives the rows of an answer to `onRow`, and the other messages to those who have listened to the socket so far. */
const divertRows = (socket: Socket, onRow: (row: Buffer) => void): void => {
  const listeners = socket.listeners('data') as Array<(bytes: Buffer) => void>
  const header = Buffer.alloc(headerBytes)
  let headerFilled = 0
  /** How many bytes of the message are still to come. */
  let left = 0
  let row: Buffer | undefined

  // A copy: the parser of pg keeps an incomplete message.
  const pass = (bytes: Buffer) => {
    const copy = Buffer.from(bytes)
    for (const listener of listeners) listener.call(socket, copy)
  }

  const begin = () => {
    left = header.readUInt32BE(1) - 4
    row = header[0] === copyData ? Buffer.allocUnsafeSlow(left) : undefined
    if (row === undefined) pass(header)
    headerFilled = 0
  }

  const takeBody = (bytes: Buffer) => {
    if (row === undefined) pass(bytes)
    else row.set(bytes, row.byteLength - left)
    left -= bytes.byteLength
    if (left === 0 && row !== undefined) onRow(row)
  }

  // pg may send the next statement as soon as it has this message.
  const end = () => {
    for (const listener of listeners) socket.on('data', listener)
    socket.off('data', onData)
  }

  const onData = (bytes: Buffer) => {
    for (let at = 0; at < bytes.byteLength;) {
      if (left > 0) {
        const part = bytes.subarray(at, at + left)
        at += part.byteLength
        takeBody(part)
        continue
      }
      const part = bytes.subarray(at, at + headerBytes - headerFilled)
      header.set(part, headerFilled)
      headerFilled += part.byteLength
      at += part.byteLength
      if (headerFilled < headerBytes) break
      if (header[0] === readyForQuery) {
        end()
        pass(Buffer.concat([header, bytes.subarray(at)]))
        break
      }
      begin()
    }
    freeMemory(bytes)
  }

  socket.on('data', onData)
  for (const listener of listeners) socket.off('data', listener)
}

interface Submittable {
  submit (connection: pg.Connection): void
}

// The types of pg have the part of the class that users need.
const Query = pg.Query as unknown as new (
  text: string, values: undefined, callback: (error: Error | null) => void
) => Submittable

export class CopyOut extends Query {
  // The first one begins with the header of the format. A query has `rows` of its own: how many to fetch at once.
  readonly written: Buffer[] = []

  constructor (text: string, callback: (error: Error | null) => void) {
    super(text, undefined, callback)
  }

  // pg calls it once nothing else is under way on the connection.
  override submit (connection: pg.Connection): void {
    divertRows(connection.stream as Socket, row => { this.written.push(row) })
    super.submit(connection)
  }
}
