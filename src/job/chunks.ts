/** The size of the chunks in which inputs and results are stored. */
export const storedChunkBytes = 256 * 1024

/** How many bytes of an input or a result one transaction stores. */
export const storedAtOnceBytes = 4 * storedChunkBytes

// Of a small piece it is not known whether others use its memory, and it is not worth it.
const freedMin = 4096

/**
 * Frees the memory of bytes that have been used, unless it may belong to others too: that is so if they have less than
 * half of it. The garbage collector lets tens of megabytes gather, and its search through the whole heap then takes a
 * third to a half of the CPU of an upload or a download.
 */
export const freeMemory = ({ buffer, byteLength }: Uint8Array): void => {
  const isOwn = byteLength > buffer.byteLength / 2 && byteLength >= freedMin
  if (isOwn && buffer instanceof ArrayBuffer) buffer.transfer(0)
}

/** The chunks that store these bytes, and where each begins. */
export const toStoredChunks = (bytes: Uint8Array): Array<{ at: number, chunk: Uint8Array }> =>
  Array.from({ length: Math.ceil(bytes.byteLength / storedChunkBytes) }, (_, index) => {
    const at = index * storedChunkBytes
    return { at, chunk: bytes.subarray(at, at + storedChunkBytes) }
  })

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

/**
 * Joins bytes to pieces of `size` or a multiple of it, the last one shorter; none if there are no bytes. A piece has all
 * that arrived at once, and at most `sizeMax`.
 */
export async function * toMultiples (
  body: AsyncIterable<Uint8Array>, size: number, sizeMax: number
): AsyncGenerator<Uint8Array, void, void> {
  let held: Uint8Array[] = []
  let heldBytes = 0
  for await (const bytes of body) {
    const joined = heldBytes + bytes.byteLength < size || heldBytes === 0 ? bytes : Buffer.concat([...held, bytes])
    heldBytes += bytes.byteLength
    const end = heldBytes - heldBytes % size
    for (let at = 0; at < end; at += sizeMax) yield joined.subarray(at, Math.min(at + sizeMax, end))
    if (end > 0) held = []
    heldBytes -= end
    // Copied, since the source may use its memory again.
    if (heldBytes > 0) held.push(Buffer.from(joined.subarray(end)))
  }
  if (heldBytes > 0) yield Buffer.concat(held, heldBytes)
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
