import { finished, type Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { ServiceFailure } from '../../errors.ts'
import { freeMemory, storedChunkBytes } from '../../job/chunks.ts'

/**
 * Passes bodies of these media types (`*`: any) to the route unparsed, as a Readable. Call it in an encapsulated plugin
 * whose routes are `isStreamed`; JSON is still parsed there unless it is one of the types.
 */
export const takeRawBodies = (app: FastifyInstance, mediaTypes: string[] | '*'): void => {
  if (mediaTypes === '*') app.removeAllContentTypeParsers()
  app.addContentTypeParser(mediaTypes, (_request, payload, done) => { done(null, payload) })
}

// What is read while the route stores the bytes before it. More of it is left to the client.
const aheadBytesMax = 1024 * 1024

/** Takes bytes from the front of pieces. They are valid until the next call, which uses the same memory. */
const createJoin = (pieces: Uint8Array[]) => {
  let memory = Buffer.alloc(0)
  let takenOfFirst = 0
  return (size: number): Uint8Array => {
    if (memory.byteLength < size) memory = Buffer.allocUnsafeSlow(size)
    for (let at = 0; at < size;) {
      const [first = memory] = pieces
      const part = first.subarray(takenOfFirst, takenOfFirst + size - at)
      memory.set(part, at)
      at += part.byteLength
      takenOfFirst += part.byteLength
      if (takenOfFirst < first.byteLength) continue
      pieces.shift()
      takenOfFirst = 0
      // Node makes each piece of a body in memory of its own: one that shares its memory is another's.
      if (first.byteLength === first.buffer.byteLength) freeMemory(first)
    }
    return memory.subarray(0, size)
  }
}

/**
 * The bytes of a raw body: at a time all those that have arrived, but for what is beyond the last whole chunk, if there
 * is one. They are valid until the next ones are asked for. Stopping early does not destroy the body, so that the
 * connection can still carry the response. Throws VALIDATION_FAILED if the client aborts the body, after what arrived
 * before.
 */
export const chunksOf = async function * (body: Readable): AsyncGenerator<Uint8Array, void, void> {
  const arrived: Uint8Array[] = []
  const take = createJoin(arrived)
  let [arrivedBytes, passedBytes] = [0, 0]
  let ended: { error: Error | null | undefined } | undefined
  let wake = () => {}
  const onData = (bytes: Uint8Array) => {
    arrived.push(bytes)
    arrivedBytes += bytes.byteLength
    if (arrivedBytes >= aheadBytesMax) body.pause()
    wake()
  }
  const leave = finished(body, { writable: false }, error => {
    ended = { error }
    wake()
  })
  body.on('data', onData)
  try {
    while (arrivedBytes > 0 || ended === undefined) {
      if (arrivedBytes === 0) {
        await new Promise<void>(resolve => { wake = resolve })
        continue
      }
      // `toMultiples` joins the bytes to chunks, and would copy what is beyond the last one with all that follows it.
      // Less than a chunk is passed on all the same: the lease of an upload is renewed as bytes arrive.
      const beyond = (passedBytes + arrivedBytes) % storedChunkBytes
      const size = arrivedBytes > beyond ? arrivedBytes - beyond : arrivedBytes
      const bytes = take(size)
      arrivedBytes -= size
      passedBytes += size
      body.resume()
      yield bytes
    }
  } finally {
    body.off('data', onData)
    leave()
  }
  const error = ended?.error
  if (error == null) return
  throw new ServiceFailure('VALIDATION_FAILED', 'The body ended before it was complete.', {}, { cause: error })
}
