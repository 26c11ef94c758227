/** Inputs and results of any size are stored in pieces of so many bytes. */
export const storedChunkBytes = 256 * 1024

/**
 * The same bytes in pieces of exactly `size`, the last one shorter; none if there are no bytes. Each piece has a buffer
 * of its own, which can be given to another thread.
 */
export async function * toChunks (body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let chunk = new Uint8Array(size)
  let filled = 0
  // Plain iterables are taken as well; of a union of both the compiler knows nothing.
  for await (const bytes of body as AsyncIterable<Uint8Array>) {
    let taken = 0
    while (taken < bytes.byteLength) {
      const part = bytes.subarray(taken, taken + size - filled)
      chunk.set(part, filled)
      filled += part.byteLength
      taken += part.byteLength
      if (filled === size) {
        yield chunk
        chunk = new Uint8Array(size)
        filled = 0
      }
    }
  }
  if (filled > 0) yield chunk.slice(0, filled)
}
