import { constants, createHmac, type KeyObject, sign as signBytes } from 'node:crypto'
import { goodClaims } from '../http/auth/handmade-token.ts'

/*
 * Tokens put together from texts and bytes, so that every part can be wrong on its own.
 */

export const toBase64Url = (value: string | Buffer): string => Buffer.from(value).toString('base64url')

/** A signature for each algorithm that RFC 7518 and RFC 8037 know, whatever key there is. */
export const signatureOf = (alg: string, key: KeyObject | string | Buffer, text: string): Buffer => {
  const digest = `sha${alg.slice(2)}`
  if (alg.startsWith('HS')) return createHmac(digest, key).update(text).digest()
  if (alg === 'EdDSA') return signBytes(null, Buffer.from(text), key)
  if (alg.startsWith('ES')) {
    return signBytes(digest, Buffer.from(text), { key: key as KeyObject, dsaEncoding: 'ieee-p1363' })
  }
  if (alg.startsWith('RS')) return signBytes(digest, Buffer.from(text), key)
  return signBytes(digest, Buffer.from(text), {
    key: key as KeyObject, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST
  })
}

type Signed = {
  alg: string
  key: KeyObject | string | Buffer
  /** More members of the header; or its whole text. */
  header?: object | string
  /** More claims; or the payload as it stands. */
  claims?: object | string | Buffer
}

/** A token with a signature that is right for its text. */
export const signed = ({ alg, key, header = {}, claims = {} }: Signed): string => {
  const headerText = typeof header === 'string' ? header : JSON.stringify({ alg, typ: 'JWT', ...header })
  const payload = typeof claims === 'string' || Buffer.isBuffer(claims) ? claims : JSON.stringify(goodClaims(claims))
  const text = `${toBase64Url(headerText)}.${toBase64Url(payload)}`
  return `${text}.${toBase64Url(signatureOf(alg, key, text))}`
}
