/** The size of the chunks in which inputs and results are stored. */
export const storedChunkBytes = 256 * 1024

/**
 * Splits bytes into chunks of exactly `size`, the last one shorter; none if there are no bytes. Each chunk has a
 * buffer of its own, which can be transferred to another thread.
 */
export async function * toChunks (
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, size: number
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let chunk = new Uint8Array(size)
  let filled = 0
  // Plain iterables work too, but TypeScript has no type for the loop over a union of both.
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

/** How many items from the front have these sizes and together at most `sizeMax`; at least one, if there is one. */
export const countWithin = (sizes: readonly number[], sizeMax: number): number => {
  let total = 0
  const beyond = sizes.findIndex((size, index) => {
    total += size
    return index > 0 && total > sizeMax
  })
  return beyond === -1 ? sizes.length : beyond
}
