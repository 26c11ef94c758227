import type { IncomingHttpHeaders } from 'node:http'
import { parse } from 'content-disposition'
import { shortenFileName } from '../results/file-name.ts'
import type { ContentInfo } from '../../../job/job.ts'
import { mediaTypeOf } from '../../headers/media-type.ts'
import { brokenRule } from '../../problem.ts'

/*
 * What the headers of an upload say about its bytes: their type, their name and their place in the result.
 */

const contentTypeLengthMax = 255

const extensions: Record<string, string> = {
  'application/json': '.json',
  'application/x-ndjson': '.ndjson',
  'application/pdf': '.pdf',
  'application/zip': '.zip',
  'application/gzip': '.gz',
  'image/jpeg': '.jpg',
  'image/png': '.png',
  'text/csv': '.csv',
  'text/html': '.html',
  'text/plain': '.txt'
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

// Node decodes headers as Latin-1, but most clients send UTF-8.
const decodeHeader = (header: string): string => {
  try {
    return strictUtf8.decode(Buffer.from(header, 'latin1'))
  } catch {
    return header
  }
}

// Keeps only the last part of a path: a file name must not choose a folder on the client's disk.
const parseFileName = (header: string): string | undefined => {
  const name = shortenFileName(parse(decodeHeader(header)).parameters.filename?.split(/[/\\]/).at(-1) ?? '')
  return /^\.*$/.test(name) ? undefined : name
}

const defaultType = 'application/octet-stream'

// RFC 9110, 8.3.1. No blank can be matched in two ways: with many of them, that would take exponential time.
const token = "[\\w!#$%&'*+.^`|~-]+"
const quoted = '"(?:[^"\\\\]|\\\\.)*"'
const mediaTypeExpression =
  new RegExp(`^${token}/${token}\\s*(?:;\\s*(?:${token}=(?:${token}|${quoted})\\s*)?)*$`)

/**
 * The type of bytes that were declared as this: application/octet-stream where no type is named. Clients that were
 * generated from a description send its wildcard, and curl and many libraries take all that they send for a form.
 */
export const toDeclaredType = (contentType = ''): string => {
  if (!mediaTypeExpression.test(contentType)) return defaultType
  const mediaType = mediaTypeOf(contentType)
  return /^\*|\/\*$/.test(mediaType) || mediaType === 'application/x-www-form-urlencoded' ? defaultType : contentType
}

/** The type of a result, as `toDeclaredType` returns it, and its name. Throws VALIDATION_FAILED if it is too long. */
export const toContentInfo = (contentType: string, disposition: string): ContentInfo => {
  if (contentType.length > contentTypeLengthMax) {
    throw brokenRule('content-type', 'maxLength', `must have at most ${contentTypeLengthMax} characters`)
  }
  const mediaType = mediaTypeOf(contentType)
  return { contentType, fileName: parseFileName(disposition) ?? `result${extensions[mediaType] ?? ''}` }
}

const contentRangeExpression = /^bytes\s+(\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i

/**
 * Where the bytes of a request belong (RFC 9110, 14.4); `length` null: as many as there are. Throws VALIDATION_FAILED
 * if the header, the query and the length of the body disagree.
 */
export const parseContentRange = (
  headers: IncomingHttpHeaders, queryOffset: number | undefined
): { offset: number, length: number | null } => {
  const { 'content-range': header, 'content-length': contentLength } = headers
  if (header === undefined) return { offset: queryOffset ?? 0, length: null }
  const [, first, last, total] = (contentRangeExpression.exec(header) ?? []).map(Number)
  if (first === undefined || last === undefined || last < first || (total !== undefined && last >= total)) {
    throw brokenRule('content-range', 'format', 'must have the form bytes <first>-<last>/<total or *>')
  }
  if (queryOffset !== undefined && queryOffset !== first) {
    throw brokenRule('content-range', 'const', `must begin at the offset of the query, ${queryOffset}`)
  }
  const length = last - first + 1
  if (contentLength !== undefined && Number(contentLength) !== length) {
    throw brokenRule('content-range', 'const', `must be as long as the body, ${contentLength} bytes`)
  }
  return { offset: first, length }
}

/**
 * Passes the bytes on, and throws VALIDATION_FAILED where they are not exactly `length` (null: any number). Only a body
 * of unknown length gets that far.
 */
export const exactly = async function * (
  bytes: AsyncIterable<Uint8Array>, length: number | null
): AsyncGenerator<Uint8Array, void, void> {
  let left = length ?? Infinity
  const broken = () => brokenRule('content-range', 'const', 'must be as long as the body')
  for await (const piece of bytes) {
    left -= piece.byteLength
    if (left < 0) throw broken()
    yield piece
  }
  if (length !== null && left > 0) throw broken()
}
