import { TokenRejected } from './rejected-token.ts'

/*
 * The form of a bearer token, stricter than the verifier: one spelling of base64url only (else one token had many
 * texts), valid UTF-8, no critical extensions, and a type that is one of an access token.
 */

const parts = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/

// RFC 8725, 3.11: tokens for other purposes, like logout+jwt, may be signed by the same issuer with the same key.
const acceptedTypes: readonly unknown[] = [undefined, 'jwt', 'at+jwt']

const utf8 = new TextDecoder('utf-8', { fatal: true })

const malformed = () => new TokenRejected('malformed token')

const decode = (segment: string): Buffer => {
  const bytes = Buffer.from(segment, 'base64url')
  if (bytes.toString('base64url') !== segment) throw malformed()
  return bytes
}

const parse = (bytes: Buffer): unknown => {
  try {
    return JSON.parse(utf8.decode(bytes))
  } catch {
    throw malformed()
  }
}

const requireAccepted = (header: unknown): void => {
  if (typeof header !== 'object' || header === null) throw malformed()
  const { typ, kid = '' } = header as { typ?: unknown, kid?: unknown }
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ
  if (!acceptedTypes.includes(type)) throw new TokenRejected('not an access token')
  if (typeof kid !== 'string') throw malformed()
  if ('crit' in header) throw new TokenRejected('critical extension not supported')
}

/**
 * The token of an Authorization header, not verified yet; undefined if there is none. Throws TokenRejected if it does
 * not have the form of a token.
 */
export const readBearerToken = (authorization: string | undefined): string | undefined => {
  const sent = /^Bearer (.+)$/is.exec(authorization ?? '')?.[1]
  if (sent === undefined) return undefined
  const [token, ...segments] = parts.exec(sent) ?? []
  if (token === undefined) throw malformed()
  const [header, payload] = segments.map(decode)
  if (header === undefined || payload === undefined) throw malformed()
  parse(payload)
  requireAccepted(parse(header))
  return token
}
