import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../../errors.ts'
import { toIso } from '../../../job/time.ts'
import type { OpenedResult, ReadBytes } from '../../../status/read-result.ts'
import { matches, parseIfNoneMatch } from '../../conditional.ts'
import { toRange } from './ranges.ts'
import { toDisposition, toMediaType } from './content-headers.ts'
import { setStateHeaders } from '../send-status.ts'

// A job can be erased before its result is due to be removed.
const maxAgeSecondsMax = 3600

type StoredResult = Extract<OpenedResult, { kind: 'stored' }>
type PartialResult = StoredResult | Extract<OpenedResult, { kind: 'partial' }>

type Exchange = { request: FastifyRequest, reply: FastifyReply }

/**
 * The chunks as a stream. The first chunk is read before the headers are set: a read that fails until then is sent as an
 * error, without the headers of a result. Each further chunk is read after the last one has left for the socket, so that a
 * slow client holds one chunk in memory.
 */
export const openChunkStream = async (chunks: AsyncGenerator<Uint8Array, void, void>): Promise<Readable> => {
  let first: IteratorResult<Uint8Array, void> | undefined = await chunks.next()
  const next = async () => {
    const result = first ?? await chunks.next()
    first = undefined
    return result
  }
  return new Readable({
    highWaterMark: 0,
    read () {
      next().then(result => { this.push(result.done === true ? null : result.value) }, (error: Error) => { this.destroy(error) })
    },
    destroy (error, done) {
      chunks.return().then(() => { done(error) }, done)
    }
  })
}

const noBytes = async function * () {}

const openBytes = ({ request }: Exchange, read: ReadBytes, start: number, end: number) =>
  openChunkStream(request.method === 'HEAD' ? noBytes() : read(start, end))

const setContentHeaders = (reply: FastifyReply, contentType: string | null, fileName: string | null) => {
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

/** Answers with a finished result: all its bytes, or those that `Range` names. */
export const sendStored = async (exchange: Exchange, result: StoredResult): Promise<FastifyReply> => {
  const { request, reply } = exchange
  const { facts, read } = result
  const { sizeBytes } = facts
  const eTag = `"${Buffer.from(facts.sha256, 'base64').toString('base64url')}"`
  if (matches(parseIfNoneMatch(request.headers['if-none-match']), eTag)) {
    setContentHeaders(reply, facts.contentType, facts.fileName)
    setValidators(reply, result, eTag)
    return reply.code(304).send()
  }
  const range = request.method === 'HEAD' ? { kind: 'whole' } as const : toRange(request.headers, eTag, sizeBytes)
  if (range.kind === 'unsatisfiable') {
    reply.header('content-range', `bytes */${sizeBytes}`)
    throw notSatisfiable(`The result has ${sizeBytes} bytes; ask for some of these.`, 'Succeeded', sizeBytes)
  }
  const { start, end } = range.kind === 'part' ? range : { start: 0, end: sizeBytes }
  const stream = await openBytes(exchange, read, start, end)
  setContentHeaders(reply, facts.contentType, facts.fileName)
  setValidators(reply, result, eTag)
  if (range.kind === 'part') reply.code(206).header('content-range', `bytes ${start}-${end - 1}/${sizeBytes}`)
  // A stream keeps the content-length as it is set, also one that is read for its headers alone.
  return reply.header('content-length', end - start).send(stream)
}

/**
 * Answers with what is there from `offset` on, of a job that runs or has succeeded. It is no part of the final result
 * in the words of HTTP: it has none of its validators, and is never stored.
 */
export const sendPartial = async (exchange: Exchange, result: PartialResult, offset: number): Promise<FastifyReply> => {
  const { reply } = exchange
  const { entry, facts, read } = result
  const attempt = result.kind === 'partial' ? result.facts.attempt : result.attempt
  const { sizeBytes } = facts
  const marks = { 'job-result': result.kind === 'partial' ? 'partial' : 'complete', 'job-result-offset': sizeBytes, 'job-attempt': attempt }
  if (offset > sizeBytes) {
    setStateHeaders(reply, entry)
    reply.headers(marks)
    const message = `Attempt ${attempt} has ${sizeBytes} bytes of the result; bytes of an earlier attempt do not belong to it.`
    throw notSatisfiable(message, result.kind === 'partial' ? 'Running' : 'Succeeded', sizeBytes)
  }
  const stream = await openBytes(exchange, read, offset, sizeBytes)
  setContentHeaders(reply, facts.contentType, facts.fileName)
  setStateHeaders(reply, entry)
  reply.headers({ ...marks, 'cache-control': 'private, no-store', 'content-length': sizeBytes - offset })
  return reply.send(stream)
}

/** Why there are no bytes, of a job that has ended. */
export const noBytesFailure = (result: OpenedResult): ServiceFailure => {
  const { entry: { state }, kind } = result
  if (state === 'failed') return new ServiceFailure('JOB_FAILED', 'The job failed, so it has no result.', { jobStatus: 'Failed' })
  if (state === 'cancelled') return new ServiceFailure('JOB_CANCELLED', 'The job was cancelled, so it has no result.', { jobStatus: 'Failed' })
  if (kind === 'expired') {
    const facts = { jobStatus: 'Succeeded', expiredAt: toIso(result.expiredAt) }
    return new ServiceFailure('RESULT_EXPIRED', 'The result was kept for its time, and has been removed.', facts)
  }
  return new ServiceFailure('NO_RESULT', 'The job succeeded without a result that could be fetched here.', { jobStatus: 'Succeeded' })
}
