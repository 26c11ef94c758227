import { shortenFileName } from './file-name.ts'
import { mediaTypeOf } from '../../headers/media-type.ts'

/*
 * The worker that runs a job chooses the file name and the media type of the result. Neither is trusted: both are
 * validated or rewritten before they become headers.
 */

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const quoted = '"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e]|\\\\[\\t \\x21-\\x7e])*"'
const mediaTypeExpression = new RegExp(`^(${token}/${token})(?:[ \\t]*;[ \\t]*${token}=(?:${token}|${quoted}))*$`)
const mediaTypeLengthMax = 200
const unknownType = 'application/octet-stream'

/** The media type if it is valid (RFC 9110, 8.3.1), else application/octet-stream. */
export const toMediaType = (contentType: string | null): string => {
  const mediaType = (contentType ?? unknownType).trim()
  return mediaType.length <= mediaTypeLengthMax && mediaTypeExpression.test(mediaType) ? mediaType : unknownType
}

// Types without active content are shown inline. A browser saves all others as files, so that no script in them runs in
// the origin of the service.
const passiveTypes: ReadonlySet<string> = new Set([
  'text/plain', 'text/csv', 'application/json', 'application/x-ndjson'
])

const isPassive = (mediaType: string): boolean => passiveTypes.has(mediaTypeOf(mediaType))

// A name without folders and invisible characters: controls, format characters (bidirectional marks too), line ends.
const toSafeFileName = (fileName: string): string => {
  const visible = fileName.toWellFormed().replace(/^.*[/\\]/su, '').replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '').trim()
  const name = shortenFileName(visible)
  return /^\.*$/.test(name) ? 'result' : name
}

const percentEncode = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`

/** `Content-Disposition` (RFC 6266). A name with other than ASCII characters is also sent in RFC 8187 encoding. */
export const toDisposition = (mediaType: string, fileName: string | null): string => {
  const name = toSafeFileName(fileName ?? '')
  const plain = name.replace(/[^A-Za-z0-9._-]/gu, '_')
  const disposition = `${isPassive(mediaType) ? 'inline' : 'attachment'}; filename="${plain}"`
  if (plain === name) return disposition
  return `${disposition}; filename*=UTF-8''${encodeURIComponent(name).replace(/['()*]/g, percentEncode)}`
}
