/*
 * SHA-256 of bytes that arrive in parts: the digest of the web platform takes all at once.
 */

/** Of bytes that arrive in parts. The digest is Base64. */
export type Hash = { update: (bytes: Uint8Array) => void, digest: () => string }

// FIPS 180-4, 4.2.2 and 5.3.3: the first bits of the fractional parts of the roots of the first primes.
const primes: number[] = []
for (let number = 2; primes.length < 64; number++) if (primes.every(prime => number % prime !== 0)) primes.push(number)
const fraction = (value: number): number => (value - Math.floor(value)) * 2 ** 32
const constants = Int32Array.from(primes, prime => fraction(Math.cbrt(prime)))
const initial = primes.slice(0, 8).map(prime => fraction(Math.sqrt(prime)))

const rotate = (word: number, by: number): number => (word >>> by) | (word << (32 - by))

const words = new Int32Array(64)

const compress = (state: Int32Array, block: DataView): void => {
  for (let at = 0; at < 64; at++) {
    if (at < 16) {
      words[at] = block.getInt32(at * 4)
      continue
    }
    const [near, far] = [words[at - 15] as number, words[at - 2] as number]
    const low = rotate(near, 7) ^ rotate(near, 18) ^ (near >>> 3)
    const high = rotate(far, 17) ^ rotate(far, 19) ^ (far >>> 10)
    words[at] = (words[at - 16] as number) + low + (words[at - 7] as number) + high
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number]
  for (let at = 0; at < 64; at++) {
    const choice = (e & f) ^ (~e & g)
    const majority = (a & b) ^ (a & c) ^ (b & c)
    const one = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choice +
      (constants[at] as number) + (words[at] as number)) | 0
    const two = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority) | 0
    ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0]
  }
  const next = [a, b, c, d, e, f, g, h]
  for (let at = 0; at < 8; at++) state[at] = (state[at] as number) + (next[at] as number)
}

/** For platforms without a hash of their own that takes parts. */
export const createPortableHash = (): Hash => {
  const state = Int32Array.from(initial)
  const rest = new Uint8Array(64)
  const block = new DataView(rest.buffer)
  let [restBytes, totalBytes] = [0, 0]
  const update = (bytes: Uint8Array): void => {
    totalBytes += bytes.length
    for (let offset = 0; offset < bytes.length;) {
      const taken = bytes.subarray(offset, offset + 64 - restBytes)
      rest.set(taken, restBytes)
      offset += taken.length
      restBytes = (restBytes + taken.length) % 64
      if (restBytes === 0) compress(state, block)
    }
  }
  return {
    update,
    digest: () => {
      const bits = totalBytes * 8
      const padding = new Uint8Array((restBytes < 56 ? 64 : 128) - restBytes)
      padding[0] = 128
      const view = new DataView(padding.buffer)
      view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32))
      view.setUint32(padding.length - 4, bits >>> 0)
      update(padding)
      const bytes = new DataView(new ArrayBuffer(32))
      state.forEach((word, at) => { bytes.setInt32(at * 4, word) })
      return btoa(String.fromCharCode(...new Uint8Array(bytes.buffer)))
    }
  }
}
