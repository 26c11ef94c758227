/** The bytes to send. `part`: from `start` up to but excluding `end`; `unsatisfiable`: the range is beyond the end. */
export type RequestedRange =
  | { kind: 'part', start: number, end: number }
  | { kind: 'unsatisfiable' }
  | { kind: 'whole' }

/** The request headers `Range` and `If-Range`. */
export type RangeHeaders = { range?: string | undefined, 'if-range'?: string | undefined }

const oneRange = /^bytes=(\d*)-(\d*)$/i

/**
 * Parses the headers (RFC 9110, 13.1.5 and 14.2) for a representation with a strong ETag. An invalid range and several
 * ranges select the whole, as the RFC allows; so does an `If-Range` with another ETag or a date, since results have no
 * Last-Modified.
 */
export const toRange = (headers: RangeHeaders, eTag: string, sizeBytes: number): RequestedRange => {
  const { range, 'if-range': ifRange = eTag } = headers
  const [, first = '', last = ''] = oneRange.exec(range ?? '') ?? []
  if (ifRange !== eTag || (first === '' && last === '')) return { kind: 'whole' }
  if (first === '') {
    const suffixBytes = Number(last)
    if (suffixBytes === 0) return { kind: 'unsatisfiable' }
    // The last bytes of an empty result are the whole of it, which Content-Range cannot express.
    if (sizeBytes === 0) return { kind: 'whole' }
    return { kind: 'part', start: Math.max(0, sizeBytes - suffixBytes), end: sizeBytes }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return { kind: 'whole' }
  if (start >= sizeBytes) return { kind: 'unsatisfiable' }
  return { kind: 'part', start, end: last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) }
}
