/*
 * The form of a bearer token, stricter than the verifier: one spelling of base64url only (else one token had many
 * texts), valid UTF-8, no critical extensions, and a type that is one of an access token.
 */

const bearer = /^Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/i

// RFC 8725, 3.11: tokens for other purposes, like logout+jwt, may be signed by the same issuer with the same key.
const acceptedTypes: readonly unknown[] = [undefined, 'jwt', 'at+jwt']

const utf8 = new TextDecoder('utf-8', { fatal: true })

const decode = (segment: string): Buffer | undefined => {
  const bytes = Buffer.from(segment, 'base64url')
  return bytes.toString('base64url') === segment ? bytes : undefined
}

const isAccepted = (header: unknown): boolean => {
  if (typeof header !== 'object' || header === null) return false
  const { typ, kid = '' } = header as { typ?: unknown, kid?: unknown }
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ
  return acceptedTypes.includes(type) && typeof kid === 'string' && !('crit' in header)
}

/** The token of an Authorization header, not verified yet; undefined if it does not have the form of one. */
export const readBearerToken = (authorization: string | undefined): string | undefined => {
  const [, ...segments] = bearer.exec(authorization ?? '') ?? []
  const [header, payload, signature] = segments.map(decode)
  if (header === undefined || payload === undefined || signature === undefined) return undefined
  try {
    utf8.decode(payload)
    return isAccepted(JSON.parse(utf8.decode(header))) ? segments.join('.') : undefined
  } catch {
    return undefined
  }
}
