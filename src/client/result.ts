import { JobServiceError } from './errors.ts'
import { createHash } from './hash.ts'
import { readChunk } from './stream.ts'
import { type CallOptions, createRetry, isTransient, link, open, type Transport } from './transport.ts'
import { taskPath, waitFor } from './wait-for.ts'

/**
 * To go on with a download of an earlier call: how many bytes there are, and the ETag that they came with. If the
 * result is another one now, the response has the status 200 and all of its bytes, else 206.
 */
export type ResultOptions = CallOptions & { offset?: number, eTag?: string }

const bytesIdleMsMax = 30_000

type Part = { offset: number, eTag: string | null, signal: AbortSignal | undefined }

const openPart = (transport: Transport, jobId: string, { offset, eTag, signal }: Part): Promise<Response> =>
  open(transport, taskPath(jobId, '/result'), {
    headers: { accept: '*/*', ...offset > 0 && eTag !== null ? { range: `bytes=${offset}-`, 'if-range': eTag } : {} }, signal
  })

type Bytes = Uint8Array<ArrayBuffer>

/** The next bytes, from where the first response begins, from as many connections as it takes; undefined: the end. */
const createRead = (transport: Transport, jobId: string, first: Response, begin: Part) => {
  const { signal } = begin
  const { headers } = first
  const eTag = headers.get('etag')
  const length = headers.get('content-length')
  // Something on the way may have compressed the bytes: then this is not their number.
  const end = length === null || headers.has('content-encoding') ? null : begin.offset + Number(length)
  const retry = createRetry(transport)
  let { offset } = begin
  let reader = first.body?.getReader()

  const reopen = async (): Promise<void> => {
    const answer = await openPart(transport, jobId, { offset, eTag, signal })
    if (offset > 0 && answer.status !== 206) {
      await answer.body?.cancel()
      throw new JobServiceError('RESULT_CHANGED', 'the result has changed')
    }
    reader = answer.body?.getReader()
  }
  const read = async (): Promise<Bytes | undefined> => {
    for (;;) {
      if (offset === end) return undefined
      let failure: unknown
      try {
        if (reader === undefined) await reopen()
        const chunk = reader === undefined ? undefined : await readChunk(reader, bytesIdleMsMax)
        if (chunk !== undefined) {
          retry.answered()
          offset += chunk.length
          return chunk
        }
        if (end === null) return undefined
        failure = new JobServiceError('UNREACHABLE', 'ended early')
      } catch (error) {
        failure = error
        if (!isTransient(error) || eTag === null) throw error
      }
      reader = undefined
      await retry.failed(failure, signal)
    }
  }
  return { read, cancel: (reason: unknown) => reader?.cancel(reason) }
}

const createBody = async (
  transport: Transport, jobId: string, first: Response, begin: Part
): Promise<ReadableStream<Bytes>> => {
  const sha256 = /sha-256=:([^:]+):/.exec(first.headers.get('repr-digest') ?? '')?.[1]
  const hash = sha256 === undefined || begin.offset > 0 ? null : await createHash()
  const { signal, abort, unlink } = link(begin.signal)
  const { read, cancel } = createRead(transport, jobId, first, { ...begin, signal })
  return new ReadableStream({
    async pull (controller) {
      try {
        const chunk = await read()
        if (chunk !== undefined) {
          hash?.update(chunk)
          return controller.enqueue(chunk)
        }
        if (hash !== null && hash.digest() !== sha256) throw new JobServiceError('RESULT_DAMAGED', 'the result is damaged')
        controller.close()
      } catch (error) {
        controller.error(error)
      }
      unlink()
    },
    cancel: reason => {
      unlink()
      // Also ends the pause before a further connection, which has no reader yet.
      abort(reason)
      return cancel(reason)
    }
  }, { highWaterMark: 0 })
}

/**
 * The result of a job, once it has one. Its body goes on after interruptions, and fails at its end if the bytes are not
 * those of the digest. Throws JOB_FAILED, JOB_CANCELLED, NO_RESULT, RESULT_EXPIRED, …
 */
export const result = async (
  transport: Transport, jobId: string, { signal, offset = 0, eTag }: ResultOptions
): Promise<Response> => {
  const part = { offset, eTag: eTag ?? null, signal }
  let first = await openPart(transport, jobId, part)
  while (first.status === 202) {
    await first.body?.cancel()
    await waitFor(transport, jobId, { signal })
    first = await openPart(transport, jobId, part)
  }
  const begin = { ...part, offset: first.status === 206 ? offset : 0 }
  return new Response(await createBody(transport, jobId, first, begin), { status: first.status, headers: first.headers })
}
