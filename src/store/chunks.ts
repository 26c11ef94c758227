import type { RawInput } from '../job/input.ts'
import { InputTorn, ResultTorn } from './errors.ts'
import type { BytesOf } from './store.ts'

/*
 * Inputs and results are stored in chunks, which every database reads one at a time.
 */

/** A part of a result, and where it begins. */
export type ResultChunk = { startOffset: number, bytes: Uint8Array }

/** The bytes of an input. `chunkAt` finds the chunk that begins at an offset. Throws InputTorn where they end early. */
export async function * readInputBytes (
  { inputId, sizeBytes }: RawInput, chunkAt: (offset: number) => Promise<Uint8Array | undefined>
): AsyncGenerator<Uint8Array, void, void> {
  for (let offset = 0; offset < sizeBytes;) {
    const bytes = await chunkAt(offset)
    if (bytes === undefined) throw new InputTorn(inputId)
    offset += bytes.byteLength
    yield bytes
  }
}

/**
 * The bytes of a result from `start` to before `end`. `chunkOf` finds the chunk that an offset is in, unless the bytes
 * that are meant were removed or replaced. Throws ResultTorn where they end early.
 */
export async function * readResultBytes (
  { jobId }: BytesOf, start: number, end: number, chunkOf: (offset: number) => Promise<ResultChunk | undefined>
): AsyncGenerator<Uint8Array, void, void> {
  for (let offset = start; offset < end;) {
    const chunk = await chunkOf(offset)
    const from = offset - (chunk?.startOffset ?? 0)
    if (chunk === undefined || from >= chunk.bytes.byteLength) throw new ResultTorn(jobId)
    const bytes = chunk.bytes.subarray(from, from + end - offset)
    offset += bytes.byteLength
    yield bytes
  }
}
