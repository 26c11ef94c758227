import type { Database } from './sqlite/database.ts'
import { guardRead, type Tx } from './sqlite/transact.ts'

/** Bytes that came along with an input, stored apart from it. */
export type RawInput = { inputId: string, sizeBytes: number, contentType: string }

/** What a job is to work on, and on whose behalf: both JSON text; and bytes, where it was sent any. */
export type JobInput = { input: string, access: string, raw: RawInput | null }

// They were removed before a job held them, or while they were read: no part must be taken for the whole.
class InputTorn extends Error {
  constructor (inputId: string) {
    super(`the bytes of input ${inputId} are gone`)
    this.name = 'InputTorn'
  }
}

/** Throws InputTorn where the bytes were forgotten before. */
export const insertInput = async (tx: Tx, jobId: string, { input, access, raw }: JobInput): Promise<void> => {
  await tx.insertInto('JobInput').values({
    jobId, input, access, inputId: raw?.inputId ?? null, rawSizeBytes: raw?.sizeBytes ?? null, rawContentType: raw?.contentType ?? null
  }).execute()
  if (raw === null) return
  // From here on the job holds them.
  const { numDeletedRows } = await tx
    .deleteFrom('OrphanedBytes').where('holder', '=', 'JobInputChunk').where('id', '=', raw.inputId).executeTakeFirst()
  if (numDeletedRows === 0n && raw.sizeBytes > 0) throw new InputTorn(raw.inputId)
}

type InputRow = { input: string, access: string, inputId: string | null, rawSizeBytes: number | null, rawContentType: string | null }

const toInput = ({ input, access, inputId, rawSizeBytes, rawContentType }: InputRow): JobInput => ({
  input,
  access,
  raw: inputId === null
    ? null
    : { inputId, sizeBytes: rawSizeBytes ?? 0, contentType: rawContentType ?? 'application/octet-stream' }
})

const columns = ['input', 'access', 'inputId', 'rawSizeBytes', 'rawContentType'] as const

export const findInput = async (tx: Tx, jobId: string): Promise<JobInput | undefined> => {
  const row = await tx.selectFrom('JobInput').select(columns).where('jobId', '=', jobId).executeTakeFirst()
  return row === undefined ? undefined : toInput(row)
}

/**
 * Adds bytes that no job holds yet; they are forgotten after `forgetAt` (ms since 1970) unless one does by then. Throws
 * InputTorn where those before were.
 */
export const appendInputChunk = async (
  tx: Tx, inputId: string, startOffset: number, bytes: Uint8Array, forgetAt: number
): Promise<void> => {
  if (startOffset === 0) {
    await tx.insertInto('OrphanedBytes').values({ holder: 'JobInputChunk', id: inputId, forgetAt }).execute()
  } else {
    const { numUpdatedRows } = await tx
      .updateTable('OrphanedBytes').set({ forgetAt }).where('holder', '=', 'JobInputChunk').where('id', '=', inputId).executeTakeFirst()
    if (numUpdatedRows === 0n) throw new InputTorn(inputId)
  }
  await tx.insertInto('JobInputChunk').values({ inputId, startOffset, bytes }).execute()
}

/** Reads of inputs, past the writer. */
export type InputStore = {
  find: (jobId: string) => JobInput | undefined
  /** The bytes in order, one chunk in memory at a time. Throws STORE_UNAVAILABLE, and InputTorn where they end early. */
  read: (raw: RawInput) => AsyncGenerator<Uint8Array, void, void>
}

export const createInputStore = ({ database: { reader, writer } }: { database: Database }): InputStore => {
  const row = reader.prepare<[string], InputRow>(writer.selectFrom('JobInput').select(columns).where('jobId', '=', '').compile().sql)
  const nextChunk = reader.prepare<[string, number], { bytes: Uint8Array }>(
    writer.selectFrom('JobInputChunk').select('bytes').where('inputId', '=', '').where('startOffset', '=', 0).compile().sql
  )
  return {
    find: jobId => {
      const found = guardRead(() => row.get(jobId))
      return found === undefined ? undefined : toInput(found)
    },
    read: async function * ({ inputId, sizeBytes }) {
      for (let offset = 0; offset < sizeBytes;) {
        const at = offset
        const chunk = guardRead(() => nextChunk.get(inputId, at))
        if (chunk === undefined) throw new InputTorn(inputId)
        offset += chunk.bytes.byteLength
        yield chunk.bytes
      }
    }
  }
}
