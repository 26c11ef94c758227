import type { RawInput } from '../job/input.ts'
import { InputTorn, ResultTorn } from './errors.ts'
import type { BytesOf } from './store.ts'

/*
 * Inputs and results are stored in chunks. A read has one of them in memory, or the few that a database reads at once,
 * and as many more where it reads ahead.
 */

/** A part of a result or an input, and where it begins. */
export type Chunk = { startOffset: number, bytes: Uint8Array }

/**
 * The bytes of an input. `chunksAt` finds some chunks in their order, the first of which begins at an offset. Throws
 * InputTorn where they end early.
 */
export async function * readInputBytes (
  { inputId, sizeBytes }: RawInput, chunksAt: (offset: number) => Promise<readonly Chunk[]>
): AsyncGenerator<Uint8Array, void, void> {
  for (let offset = 0; offset < sizeBytes;) {
    const chunks = await chunksAt(offset)
    if (chunks.length === 0) throw new InputTorn(inputId)
    for (const { startOffset, bytes } of chunks) {
      if (startOffset !== offset) throw new InputTorn(inputId)
      offset += bytes.byteLength
      yield bytes
    }
  }
}

/**
 * The bytes of a result from `start` to before `end`. `chunksFrom` finds some chunks in their order, the first of which
 * an offset is in; none, if the bytes that are meant were removed or replaced. Throws ResultTorn where they end early.
 * `readsAhead`: where it finds several, the next ones are read while these are used.
 */
export async function * readResultBytes (
  { jobId }: BytesOf, start: number, end: number, chunksFrom: (offset: number) => Promise<readonly Chunk[]>,
  { readsAhead = false } = {}
): AsyncGenerator<Uint8Array, void, void> {
  let ahead: Promise<readonly Chunk[]> | undefined
  const beginAhead = ({ startOffset, bytes }: Chunk) => {
    const next = startOffset + bytes.byteLength
    if (next >= end) return
    ahead = chunksFrom(next)
    // It fails for a reader that gets that far, and for no other.
    ahead.catch(() => {})
  }
  for (let offset = start; offset < end;) {
    const chunks = await (ahead ?? chunksFrom(offset))
    ahead = undefined
    if (chunks.length === 0) throw new ResultTorn(jobId)
    for (const [index, chunk] of chunks.entries()) {
      if (offset >= end) return
      const from = offset - chunk.startOffset
      if (from < 0 || from >= chunk.bytes.byteLength) throw new ResultTorn(jobId)
      const bytes = chunk.bytes.subarray(from, from + end - offset)
      offset += bytes.byteLength
      if (readsAhead && index === 0 && chunks.length > 1) beginAhead(chunks.at(-1) ?? chunk)
      yield bytes
    }
  }
}
