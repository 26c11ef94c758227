import type { Kysely } from 'kysely'
import { InputTorn } from '../errors.ts'
import { toStoredChunks } from '../../job/chunks.ts'
import type { JobInput } from '../../job/input.ts'
import { keepStatement } from '../sql/dialect.ts'
import type { Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import { together } from '../together.ts'

export type InputRow = {
  input: string, access: string, inputId: string | null, rawSizeBytes: number | null, rawContentType: string | null
}

const insertStatement = keepStatement((db, row: InputRow & { jobId: string }) => db.insertInto('JobInput').values({
  jobId: row.jobId,
  input: row.input,
  access: row.access,
  inputId: row.inputId,
  rawSizeBytes: row.rawSizeBytes,
  rawContentType: row.rawContentType
}), { each: { rawSizeBytes: 'bigint' } })

/**
 * Stores the input of a job; from then on the job holds its raw bytes. Throws InputTorn if these were removed before.
 */
export const insertInput = async (tx: Tx, jobId: string, { input, access, raw }: JobInput): Promise<void> => {
  await insertStatement(tx, {
    jobId,
    input,
    access,
    inputId: raw?.inputId ?? null,
    rawSizeBytes: raw?.sizeBytes ?? null,
    rawContentType: raw?.contentType ?? null
  })
  if (raw === null) return
  const { numDeletedRows } = await tx
    .deleteFrom('OrphanedBytes').where('holder', '=', 'JobInputChunk').where('id', '=', raw.inputId).executeTakeFirst()
  if (numDeletedRows === 0n && raw.sizeBytes > 0) throw new InputTorn(raw.inputId)
}

export const toInput = ({ input, access, inputId, rawSizeBytes, rawContentType }: InputRow): JobInput => ({
  input,
  access,
  raw: inputId === null
    ? null
    : { inputId, sizeBytes: rawSizeBytes ?? 0, contentType: rawContentType ?? 'application/octet-stream' }
})

export const inputQuery = (db: Kysely<Tables>, jobId: string) => db
  .selectFrom('JobInput').select(['input', 'access', 'inputId', 'rawSizeBytes', 'rawContentType']).where('jobId', '=', jobId)

const inputStatement = keepStatement((db, { jobId }: { jobId: string }) => inputQuery(db, jobId), { each: {} })

export const findInput = async (tx: Tx, jobId: string): Promise<JobInput | undefined> => {
  const { rows: [row] } = await inputStatement(tx, { jobId })
  return row === undefined ? undefined : toInput(row)
}

const chunkStatement = keepStatement((db, { inputId, startOffset, bytes }: {
  inputId: string, startOffset: number, bytes: Uint8Array
}) => db.insertInto('JobInputChunk').values({ inputId, startOffset, bytes }))

/**
 * Appends raw bytes that no job holds yet. The pruner removes them after `forgetAt` (ms since 1970) unless a job holds
 * them by then. Throws InputTorn if the bytes before these were removed.
 */
export const appendInputBytes = async (
  tx: Tx, inputId: string, startOffset: number, bytes: Uint8Array, forgetAt: number
): Promise<void> => {
  if (startOffset === 0) {
    await tx.insertInto('OrphanedBytes').values({ holder: 'JobInputChunk', id: inputId, forgetAt }).execute()
  } else {
    const { numUpdatedRows } = await tx
      .updateTable('OrphanedBytes').set({ forgetAt }).where('holder', '=', 'JobInputChunk').where('id', '=', inputId)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) throw new InputTorn(inputId)
  }
  await together(...toStoredChunks(bytes).map(({ at, chunk }) =>
    chunkStatement(tx, { inputId, startOffset: startOffset + at, bytes: chunk })))
}
