import { memoryBytesMax } from './preview.ts'

/** A file that the user has chosen. */
type SavedFile = { createWritable: () => Promise<WritableStream<Uint8Array>> }

export type DownloadNeeds = {
  /** Asks the user for a file to write to; null where the browser cannot. */
  chooseFile: ((name: string) => Promise<SavedFile>) | null
  /** Lets the browser save bytes as a file. */
  save: (bytes: Blob, name: string) => void
}

/** `too-large`: this browser cannot save so much, so the command line has to. */
export type DownloadEnd = 'saved' | 'too-large'

/**
 * Saves the bytes of a response as a file. They never become a document of this origin: the blob is of a type that no
 * browser displays. `onProgress` gets the number of bytes so far. Throws what the API or the user's choice throws.
 */
export const download = async (
  { chooseFile, save }: DownloadNeeds, open: () => Promise<Response>,
  { fileName, sizeBytes }: { fileName: string, sizeBytes: number | null },
  signal: AbortSignal, onProgress: (bytes: number) => void
): Promise<DownloadEnd> => {
  const isLarge = sizeBytes === null || sizeBytes > memoryBytesMax
  if (isLarge && chooseFile === null && sizeBytes !== null) return 'too-large'
  // A browser asks for a file only within the click of the user.
  const file = isLarge && chooseFile !== null ? await chooseFile(fileName) : null
  const response = await open()
  let received = 0
  const counted = response.body?.pipeThrough(new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      received += chunk.length
      if (file === null && received > memoryBytesMax) throw new RangeError('too large')
      onProgress(received)
      controller.enqueue(chunk)
    }
  })) ?? new ReadableStream()
  if (file !== null) {
    await counted.pipeTo(await file.createWritable(), { signal })
    return 'saved'
  }
  try {
    const bytes = await new Response(counted).blob()
    save(new Blob([bytes], { type: 'application/octet-stream' }), fileName)
    return 'saved'
  } catch (error) {
    if (received > memoryBytesMax) return 'too-large'
    throw error
  }
}
