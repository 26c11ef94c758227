import { Readable, type Writable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../../errors.ts'
import { freeMemory } from '../../../job/chunks.ts'
import { toIso } from '../../../job/time.ts'
import type { OpenedResult, ReadBytes } from '../../../status/details/read-result.ts'
import { matches, parseIfNoneMatch, requireMatch } from '../../headers/conditional.ts'
import { toRange } from './ranges.ts'
import { toDisposition, toMediaType } from './content-headers.ts'
import { setStateHeaders } from '../send-status.ts'

// A job can be erased before its result expires, so caches keep a result for an hour at most.
const maxAgeSecondsMax = 3600

type StoredResult = Extract<OpenedResult, { kind: 'stored' }>
type PartialResult = StoredResult | Extract<OpenedResult, { kind: 'partial' }>

type Exchange = { request: FastifyRequest, reply: FastifyReply }

/**
 * The chunks as a stream, to be piped to `target`; the memory of each is freed once it has left. The first chunk is read
 * before the headers are set, so that a read that fails until then is sent as an error without the headers of a result.
 * Each further chunk is read once the previous one has left for the socket: a slow client costs the memory of a few
 * chunks.
 */
export const openChunkStream = async (
  chunks: AsyncGenerator<Uint8Array, void, void>, target: Pick<Writable, 'writableLength'>
): Promise<Readable> => {
  let first: IteratorResult<Uint8Array, void> | undefined = await chunks.next()
  let sent: Uint8Array | undefined
  const next = async (hasPassedOn: boolean) => {
    // The target may take one more while it has yet to write this one.
    if (sent !== undefined && hasPassedOn && target.writableLength === 0) freeMemory(sent)
    const result = first ?? await chunks.next()
    first = undefined
    sent = result.done === true ? undefined : result.value
    return result
  }
  return new Readable({
    highWaterMark: 0,
    read () {
      next(this.readableLength === 0).then(
        result => { this.push(result.done === true ? null : result.value) },
        (error: Error) => { this.destroy(error) }
      )
    },
    destroy (error, done) {
      chunks.return().then(() => { done(error) }, done)
    }
  })
}

const noBytes = async function * () {}

/** The bytes from `start` to before `end` as a stream; none for HEAD. */
export const openBytes = ({ request, reply }: Exchange, read: ReadBytes, start: number, end: number) =>
  openChunkStream(request.method === 'HEAD' ? noBytes() : read(start, end), reply.raw)

/** The sender of the bytes chose their media type and name: a browser must run none of them. */
export const setContentHeaders = (reply: FastifyReply, contentType: string | null, fileName: string | null) => {
  const mediaType = toMediaType(contentType)
  reply.type(mediaType).headers({
    vary: 'Authorization, Accept',
    'content-disposition': toDisposition(mediaType, fileName),
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff'
  })
}

const setValidators = (reply: FastifyReply, { facts, expiry }: StoredResult, eTag: string) => {
  const secondsLeft = expiry === null ? Infinity : Math.max(0, Math.floor(expiry.inMs / 1000))
  reply.headers({
    etag: eTag,
    'accept-ranges': 'bytes',
    'cache-control': `private, max-age=${Math.min(maxAgeSecondsMax, secondsLeft)}, immutable`,
    'repr-digest': `sha-256=:${facts.sha256}:`
  })
  if (expiry !== null) reply.header('expires', new Date(expiry.at).toUTCString())
}

const notSatisfiable = (message: string, jobStatus: string, offset: number) =>
  new ServiceFailure('RANGE_NOT_SATISFIABLE', message, { jobStatus, offset })

/** Sends a finished result: all bytes, or the range of `Range`. */
export const sendStored = async (exchange: Exchange, result: StoredResult): Promise<FastifyReply> => {
  const { request, reply } = exchange
  const { facts, read } = result
  const { sizeBytes } = facts
  const eTag = `"${Buffer.from(facts.sha256, 'base64').toString('base64url')}"`
  requireMatch(request.headers, eTag)
  if (matches(parseIfNoneMatch(request.headers['if-none-match']), eTag)) {
    setContentHeaders(reply, facts.contentType, facts.fileName)
    setValidators(reply, result, eTag)
    return reply.code(304).send()
  }
  const range = request.method === 'HEAD' ? { kind: 'whole' } as const : toRange(request.headers, eTag, sizeBytes)
  if (range.kind === 'unsatisfiable') {
    reply.header('content-range', `bytes */${sizeBytes}`)
    throw notSatisfiable(`The result has ${sizeBytes} bytes; request a range within them.`, 'Succeeded', sizeBytes)
  }
  const { start, end } = range.kind === 'part' ? range : { start: 0, end: sizeBytes }
  const stream = await openBytes(exchange, read, start, end)
  setContentHeaders(reply, facts.contentType, facts.fileName)
  setValidators(reply, result, eTag)
  if (range.kind === 'part') reply.code(206).header('content-range', `bytes ${start}-${end - 1}/${sizeBytes}`)
  // Fastify sets no content-length on a stream, and HEAD, whose stream is empty, needs that of the whole result.
  return reply.header('content-length', end - start).send(stream)
}

/**
 * Sends the bytes from `offset` on of a job that runs or has succeeded. In terms of HTTP they are not a range of the
 * final result: the response has no validators and must not be stored.
 */
export const sendPartial = async (exchange: Exchange, result: PartialResult, offset: number): Promise<FastifyReply> => {
  const { request, reply } = exchange
  requireMatch(request.headers, null)
  const { entry, facts, read } = result
  const run = result.kind === 'partial' ? result.facts.run : result.run
  const { sizeBytes } = facts
  const partialHeaders = {
    'job-result': result.kind === 'partial' ? 'partial' : 'complete',
    'job-result-offset': sizeBytes,
    'job-attempt': run
  }
  if (offset > sizeBytes) {
    setStateHeaders(reply, entry)
    reply.headers(partialHeaders)
    const message = `Run ${run} has produced ${sizeBytes} bytes; discard the bytes of an earlier run.`
    throw notSatisfiable(message, result.kind === 'partial' ? 'Running' : 'Succeeded', sizeBytes)
  }
  const stream = await openBytes(exchange, read, offset, sizeBytes)
  setContentHeaders(reply, facts.contentType, facts.fileName)
  setStateHeaders(reply, entry)
  reply.headers({ ...partialHeaders, 'cache-control': 'private, no-store', 'content-length': sizeBytes - offset })
  return reply.send(stream)
}

/** The failure for a finished job that has no bytes to send. */
export const noBytesFailure = (result: OpenedResult): ServiceFailure => {
  const { entry: { state }, kind } = result
  const failed = { jobStatus: 'Failed' }
  if (state === 'failed') return new ServiceFailure('JOB_FAILED', 'The job failed, so it has no result.', failed)
  if (state === 'cancelled') {
    return new ServiceFailure('JOB_CANCELLED', 'The job was cancelled, so it has no result.', failed)
  }
  if (kind === 'expired') {
    const facts = { jobStatus: 'Succeeded', expiredAt: toIso(result.expiredAt) }
    return new ServiceFailure('RESULT_EXPIRED', 'The result was removed after its retention time.', facts)
  }
  const succeeded = { jobStatus: 'Succeeded' }
  return new ServiceFailure('NO_RESULT', 'The job has no result that this service can send.', succeeded)
}
