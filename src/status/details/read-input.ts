import type { JobInput, RawInput } from '../../job/input.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { JobReader } from '../../store/store.ts'
import type { Expose } from '../expose.ts'

/**
 * What a job was submitted with: JSON text, or bytes that `read` reads one chunk at a time. Null: nothing is stored,
 * because another engine wrote the job.
 */
export type OpenedInput =
  | { kind: 'json', text: string }
  | { kind: 'raw', contentType: string, sizeBytes: number, read: () => AsyncGenerator<Uint8Array, void, void> }
  | null

/** Reads the input of a job, with its status at that moment. Throws STORE_UNAVAILABLE. */
export type ReadInput = (jobId: string) => Promise<{ entry: StatusEntry, input: OpenedInput }>

export type ReadInputNeeds = {
  findWithInput: JobReader['findWithInput']
  expose: Expose
  read: (raw: RawInput) => AsyncGenerator<Uint8Array, void, void>
}

export const createReadInput = ({ findWithInput, expose, read }: ReadInputNeeds): ReadInput => {
  const toOpened = (input: JobInput | undefined): OpenedInput => {
    if (input === undefined) return null
    const { raw, input: text } = input
    if (raw === null) return { kind: 'json', text }
    const { contentType, sizeBytes } = raw
    return { kind: 'raw', contentType, sizeBytes, read: () => read(raw) }
  }
  return async jobId => {
    const { lookup, input } = await findWithInput(jobId)
    // That a job is, or is gone, reveals its state, like any other response.
    return { entry: await expose(lookup), input: toOpened(input) }
  }
}
