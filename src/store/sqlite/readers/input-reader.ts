import type { InputReader } from '../../../job/input.ts'
import { type Chunk, readInputBytes } from '../../chunks.ts'
import { inputQuery, type InputRow, toInput } from '../../tx/inputs.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

export const createInputReader = ({ database }: { database: Database }): InputReader => {
  const { reader, writer } = database
  const row = reader.prepare<[string], InputRow>(inputQuery(writer, '').compile().sql)
  const chunksAt = reader.prepare<[string, number], Chunk>(
    writer.selectFrom('JobInputChunk').select(['startOffset', 'bytes'])
      .where('inputId', '=', '').where('startOffset', '=', 0).compile().sql
  )
  return {
    find: async jobId => {
      const found = guardRead(database, () => row.get(jobId))
      return found === undefined ? undefined : toInput(found)
    },
    read: raw => readInputBytes(raw, async offset => guardRead(database, () => chunksAt.all(raw.inputId, offset)))
  }
}
