/*
 * Whoever runs a job chooses what its result is called and what type it has, so nothing of either gets into a header
 * as it is.
 */

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const quoted = '"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e]|\\\\[\\t \\x21-\\x7e])*"'
const mediaTypeExpression = new RegExp(`^(${token}/${token})(?:[ \\t]*;[ \\t]*${token}=(?:${token}|${quoted}))*$`)
const mediaTypeLengthMax = 200
const unknownType = 'application/octet-stream'

/** The media type, if it is one (RFC 9110, 8.3.1). */
export const toMediaType = (contentType: string | null): string => {
  const mediaType = (contentType ?? unknownType).trim()
  return mediaType.length <= mediaTypeLengthMax && mediaTypeExpression.test(mediaType) ? mediaType : unknownType
}

// What a browser would run is handed over as a file, never shown in the service's own origin.
const passiveTypes: ReadonlySet<string> = new Set(['text/plain', 'text/csv', 'application/json', 'application/x-ndjson'])

const isPassive = (mediaType: string): boolean =>
  passiveTypes.has(mediaType.split(';', 1)[0]?.trim().toLowerCase() ?? '')

const nameLengthMax = 150

// A name in no folder, without what cannot be seen: control characters, line ends, and marks that turn text around.
const toSafeFileName = (fileName: string): string => {
  const visible = fileName.toWellFormed().replace(/^.*[/\\]/su, '').replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '').trim()
  // The end has the extension.
  const name = Array.from(visible).slice(-nameLengthMax).join('')
  return /^\.*$/.test(name) ? 'result' : name
}

const percentEncode = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`

/** `Content-Disposition` (RFC 6266): a name that is more than plain ASCII comes twice, in the words of RFC 8187 too. */
export const toDisposition = (mediaType: string, fileName: string | null): string => {
  const name = toSafeFileName(fileName ?? '')
  const plain = name.replace(/[^A-Za-z0-9._-]/gu, '_')
  const disposition = `${isPassive(mediaType) ? 'inline' : 'attachment'}; filename="${plain}"`
  if (plain === name) return disposition
  return `${disposition}; filename*=UTF-8''${encodeURIComponent(name).replace(/['()*]/g, percentEncode)}`
}
