/** The bytes that a client asks for: those from `start` to before `end`, some that are not there, or all of them. */
export type RequestedRange = { kind: 'part', start: number, end: number } | { kind: 'unsatisfiable' } | { kind: 'whole' }

/** The headers `Range` and `If-Range`, as they came. */
export type RangeHeaders = { range?: string | undefined, 'if-range'?: string | undefined }

const oneRange = /^bytes=(\d*)-(\d*)$/i

/**
 * Reads the headers (RFC 9110, 13.1.5 and 14.2) against a representation with a strong ETag. What cannot be read and a
 * list of several ranges are answered with all bytes, which a server may do; so is an `If-Range` that is not this very
 * ETag. A date never is: results do not tell when they were made.
 */
export const toRange = (headers: RangeHeaders, eTag: string, sizeBytes: number): RequestedRange => {
  const { range, 'if-range': ifRange = eTag } = headers
  const [, first = '', last = ''] = oneRange.exec(range ?? '') ?? []
  if (ifRange !== eTag || (first === '' && last === '')) return { kind: 'whole' }
  if (first === '') {
    const suffixBytes = Number(last)
    if (suffixBytes === 0) return { kind: 'unsatisfiable' }
    // Of no bytes the last ones are all there are, and Content-Range has no words for them.
    return sizeBytes === 0 ? { kind: 'whole' } : { kind: 'part', start: Math.max(0, sizeBytes - suffixBytes), end: sizeBytes }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return { kind: 'whole' }
  if (start >= sizeBytes) return { kind: 'unsatisfiable' }
  return { kind: 'part', start, end: last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) }
}
