import type { JobServiceError } from '../errors.ts'
import { createHash } from '../hash.ts'
import { ask, type Transport } from '../transport.ts'

/** Bytes as a handler of a job returns them. */
export type Bytes = Response | Blob | ReadableStream<Uint8Array> | ArrayBuffer | ArrayBufferView

/** What a worker sends its requests for one run with. */
export type LeaseRequest = { jobId: string, leaseToken: string, signal: AbortSignal }

const partBytes = 1024 * 1024

export const isBytes = (value: unknown): value is Bytes =>
  value instanceof Response || value instanceof Blob || value instanceof ReadableStream || value instanceof ArrayBuffer ||
  ArrayBuffer.isView(value)

/** The path of a run. */
export const runPath = (jobId: string, command: string): string =>
  `/api/v1/worker/jobs/${encodeURIComponent(jobId)}/${command}`

async function * chunksOf (bytes: Bytes): AsyncGenerator<Uint8Array, void, void> {
  const { body } = bytes instanceof Response ? bytes : new Response(bytes as Blob)
  const reader: ReadableStreamDefaultReader<Uint8Array> | undefined = body?.getReader()
  try {
    for (let chunk: Uint8Array | undefined; (chunk = (await reader?.read())?.value) !== undefined;) yield chunk
  } finally {
    void reader?.cancel().catch(() => {})
  }
}

/** The same bytes in parts that are worth a request. */
async function * partsOf (bytes: Bytes): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  let part = new Uint8Array(partBytes)
  let filled = 0
  for await (const chunk of chunksOf(bytes)) {
    for (let at = 0; at < chunk.length;) {
      const taken = chunk.subarray(at, at + partBytes - filled)
      part.set(taken, filled)
      filled += taken.length
      at += taken.length
      if (filled < partBytes) continue
      yield part
      part = new Uint8Array(partBytes)
      filled = 0
    }
  }
  yield part.subarray(0, filled)
}

const headersOf = (bytes: Bytes): Record<string, string> => {
  const source = bytes instanceof Response ? bytes.headers : new Headers({ 'content-type': bytes instanceof Blob ? bytes.type : '' })
  const disposition = source.get('content-disposition')
  return {
    'content-type': source.get('content-type') || 'application/octet-stream',
    ...disposition === null ? {} : { 'content-disposition': disposition }
  }
}

/** Uploads a result in parts, each until it is stored; returns what it is, for the completion. */
export const upload = async (
  transport: Transport, { jobId, leaseToken, signal }: LeaseRequest, bytes: Bytes
): Promise<{ sizeBytes: number, sha256: string }> => {
  const headers = { ...headersOf(bytes), 'lease-token': leaseToken }
  const hash = await createHash()
  let stored = 0
  for await (const part of partsOf(bytes)) {
    hash.update(part)
    const end = stored + part.length
    if (part.length === 0 && end > 0) break
    let begin = stored
    do {
      try {
        await ask(transport, `${runPath(jobId, 'result')}?offset=${begin}`, {
          method: 'PUT', headers, body: part.subarray(begin - stored), signal, deadlineMs: 60_000
        })
        begin = end
      } catch (error) {
        // A response was lost: the service says up to where it has the bytes.
        const { code, offset = -1 } = error as JobServiceError
        if (code !== 'OFFSET_MISMATCH' || offset <= begin || offset > end) throw error
        begin = offset
      }
    } while (begin < end)
    stored = end
  }
  return { sizeBytes: stored, sha256: hash.digest() }
}
