import { InputTorn } from '../../errors.ts'
import type { InputReader } from '../../../job/input.ts'
import { inputColumns, type InputRow, toInput } from '../../tx/inputs.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

export const createInputReader = ({ database }: { database: Database }): InputReader => {
  const { reader, writer } = database
  const row = reader.prepare<[string], InputRow>(
    writer.selectFrom('JobInput').select(inputColumns).where('jobId', '=', '').compile().sql
  )
  const nextChunk = reader.prepare<[string, number], { bytes: Uint8Array }>(
    writer.selectFrom('JobInputChunk').select('bytes').where('inputId', '=', '').where('startOffset', '=', 0)
      .compile().sql
  )
  return {
    find: async jobId => {
      const found = guardRead(database, () => row.get(jobId))
      return found === undefined ? undefined : toInput(found)
    },
    read: async function * ({ inputId, sizeBytes }) {
      for (let offset = 0; offset < sizeBytes;) {
        const at = offset
        const chunk = guardRead(database, () => nextChunk.get(inputId, at))
        if (chunk === undefined) throw new InputTorn(inputId)
        offset += chunk.bytes.byteLength
        yield chunk.bytes
      }
    }
  }
}
