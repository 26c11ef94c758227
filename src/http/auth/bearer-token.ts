/*
 * What the verifier lets pass and the standards do not: base64url written in more ways than one, so that one token had
 * many texts, texts that are no UTF-8, extensions that must be understood, and tokens that say they are something else
 * than access tokens.
 */

const bearer = /^Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/i

// RFC 8725, 3.11: tokens for other ends, like logout+jwt, may be signed by the same issuer with the same key.
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

/** The token of an Authorization header, not verified yet; undefined for what is not written as a token has to be. */
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
