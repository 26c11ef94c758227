import type { InputReader } from '../../../job/input.ts'
import { readInputBytes } from '../../chunks.ts'
import { inputQuery, toInput } from '../../tx/inputs.ts'
import type { Database } from '../database.ts'
import { createStatement } from '../reads.ts'

export const createInputReader = ({ database: { reads } }: { database: Database }): InputReader => {
  const row = createStatement(reads, inputQuery(reads, ''))
  const chunkAt = createStatement(reads,
    reads.selectFrom('JobInputChunk').select('bytes').where('inputId', '=', '').where('startOffset', '=', 0))
  return {
    find: async jobId => {
      const [found] = await row(jobId)
      return found === undefined ? undefined : toInput(found)
    },
    read: raw => readInputBytes(raw, async offset => (await chunkAt(raw.inputId, offset))[0]?.bytes)
  }
}
