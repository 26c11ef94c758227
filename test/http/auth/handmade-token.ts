import { createHmac, type KeyObject, sign as signBytes } from 'node:crypto'

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

type Sign = (text: string) => string

/** A token put together by hand, so that it can be wrong in any way. */
export const handmade = (header: object, payload: unknown, sign: Sign): string => {
  const text = `${encode(header)}.${encode(payload)}`
  return `${text}.${sign(text)}`
}

export const hs256 = (key: string): Sign => text => createHmac('sha256', key).update(text).digest('base64url')

/** RS256, ES256 or EdDSA, by the kind of key. */
export const withKey = (key: KeyObject): Sign => text =>
  signBytes(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', Buffer.from(text), {
    key, dsaEncoding: 'ieee-p1363'
  }).toString('base64url')

/** Claims that a service accepts, with seconds since 1970 as JWT has them. */
export const goodClaims = (more: object = {}): Record<string, unknown> =>
  ({ sub: 'tester', exp: Math.floor(Date.now() / 1000) + 600, ...more })
