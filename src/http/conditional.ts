/** The entity tag of one version of one job: `"<incarnation>.<version>.<representation>"`. */
export const toETag = (incarnation: string, version: number, representation: number): string =>
  `"${incarnation}.${version}.${representation}"`

/** What a client's `If-None-Match` asks: anything, or none of these tags (weak and strong alike). */
export type IfNoneMatch = { any: true } | { any: false, tags: readonly string[] }

const oneTag = /^"[\x21\x23-\x7e]*"$/
const tagExpression = /(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")/g

/** Reads the header; undefined when there is none, or none that can be read. */
export const parseIfNoneMatch = (header: string | undefined): IfNoneMatch | undefined => {
  if (header === undefined) return undefined
  // What nearly every poller sends: one tag, as it was given.
  if (oneTag.test(header)) return { any: false, tags: [header] }
  if (header.trim() === '*') return { any: true }
  const tags = Array.from(header.matchAll(tagExpression), match => match[1] ?? '')
  return tags.length === 0 ? undefined : { any: false, tags }
}

/** Whether the answer would be one the client has (RFC 9110, 13.1.2, weak comparison). */
export const matches = (condition: IfNoneMatch | undefined, eTag: string): boolean =>
  condition !== undefined && (condition.any || condition.tags.includes(eTag))

const versionExpression = /^"([0-9a-f]+)\.(\d{1,15})\.\d+"$/

/**
 * The newest version that the client shows to have seen, or 0. Tags of another incarnation (a restored database) and
 * of anything else say nothing about this one.
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
