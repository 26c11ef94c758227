import type { InputReader } from '../../../job/input.ts'
import { readInputBytes } from '../../chunks.ts'
import { inputQuery, toInput } from '../../tx/inputs.ts'
import type { Database } from '../database.ts'
import { createStatement } from '../reads.ts'
import { copyInputChunks } from './copy-chunks.ts'

export const createInputReader = ({ database }: { database: Database }): InputReader => {
  const { reads } = database
  const row = createStatement(reads, inputQuery(reads, ''))
  return {
    find: async jobId => {
      const [found] = await row(jobId)
      return found === undefined ? undefined : toInput(found)
    },
    read: raw => readInputBytes(raw, offset => copyInputChunks(database, raw.inputId, offset))
  }
}
