import { preconditionFailed } from './unsupported-headers.ts'

/** The entity tag of one version of one job: `"<incarnation>.<version>.<representation>"`. */
export const toETag = (incarnation: string, version: number, representation: number): string =>
  `"${incarnation}.${version}.${representation}"`

/** A parsed `If-None-Match`: `*`, or a list of tags, of which weak ones have lost their `W/`. */
export type IfNoneMatch = { any: true } | { any: false, tags: readonly string[] }

const oneTag = /^"[\x21\x23-\x7e]*"$/
const tagExpression = /(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")/g

/** Parses the header. Returns undefined if it is missing or has no valid tag. */
export const parseIfNoneMatch = (header: string | undefined): IfNoneMatch | undefined => {
  if (header === undefined) return undefined
  // The common case first: pollers send back the one tag that they got.
  if (oneTag.test(header)) return { any: false, tags: [header] }
  if (header.trim() === '*') return { any: true }
  const tags = Array.from(header.matchAll(tagExpression), match => match[1] ?? '')
  return tags.length === 0 ? undefined : { any: false, tags }
}

/** Whether the client names tags, other than `*`. */
export const hasTags = (condition: IfNoneMatch | undefined): boolean => condition?.any === false

/** Whether the client already has this representation (RFC 9110, 13.1.2, weak comparison). */
export const matches = (condition: IfNoneMatch | undefined, eTag: string): boolean =>
  condition !== undefined && (condition.any || condition.tags.includes(eTag))

/** The request headers that the functions below evaluate. */
export type Preconditions = { 'if-match'?: string | undefined, 'if-none-match'?: string | undefined }

// RFC 9110, 13.1.1: by strong comparison, which a weak tag never passes. A header without a valid tag matches nothing.
const isMatch = (header: string, eTag: string | null): boolean =>
  header.trim() === '*' || Array.from(header.matchAll(tagExpression), ([tag]) => tag).includes(eTag ?? '')

/** Throws PRECONDITION_FAILED if the request has an If-Match that names other tags. null: the response has no tag. */
export const requireMatch = ({ 'if-match': header }: Preconditions, eTag: string | null): void => {
  if (header !== undefined && !isMatch(header, eTag)) throw preconditionFailed('The ETag is none of those in If-Match.')
}

/** Whether a change may be made to what has this tag. */
export const allowsChange = (headers: Preconditions, eTag: string): boolean =>
  isMatch(headers['if-match'] ?? '*', eTag) && !matches(parseIfNoneMatch(headers['if-none-match']), eTag)

const versionExpression = /^"([0-9a-f]+)\.(\d{1,15})\.\d+"$/

/**
 * The floor of a read: the newest version among the client's tags, or 0. Tags of another incarnation (the database was
 * restored) and tags of other forms are ignored.
 */
export const toFloor = (condition: IfNoneMatch | undefined, incarnation: string): number => {
  if (condition === undefined || condition.any) return 0
  let floor = 0
  for (const tag of condition.tags) {
    const [, tagIncarnation, version] = versionExpression.exec(tag) ?? []
    if (tagIncarnation === incarnation) floor = Math.max(floor, Number(version))
  }
  return floor
}
