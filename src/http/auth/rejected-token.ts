import * as errors from 'jose/errors'
import { ServiceFailure } from '../../errors.ts'

/** Why a token is rejected, in the words that the client and the log get. It has no text of the token itself. */
export class TokenRejected extends Error {}

const claimReason = (claim: string, isMissing: boolean): string => {
  if (isMissing) return `claim ${claim} missing`
  if (claim === 'aud') return 'wrong audience'
  if (claim === 'iss') return 'wrong issuer'
  return claim === 'nbf' ? 'token not valid yet' : `claim ${claim} not valid`
}

const joseReason = (error: unknown): string | undefined => {
  if (error instanceof errors.JWTExpired) return 'token expired'
  if (error instanceof errors.JWTClaimValidationFailed) return claimReason(error.claim, error.reason === 'missing')
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'wrong signature'
  if (error instanceof errors.JOSEAlgNotAllowed) return 'algorithm not accepted'
  if (error instanceof errors.JWKSNoMatchingKey) return 'unknown key'
  if (error instanceof errors.JOSENotSupported) return 'key or algorithm not accepted'
  return error instanceof errors.JWTInvalid || error instanceof errors.JWSInvalid ? 'malformed token' : undefined
}

const fastJwtReasons: Readonly<Record<string, string>> = {
  FAST_JWT_EXPIRED: 'token expired',
  FAST_JWT_INACTIVE: 'token not valid yet',
  FAST_JWT_INVALID_SIGNATURE: 'wrong signature',
  FAST_JWT_MISSING_SIGNATURE: 'wrong signature',
  FAST_JWT_INVALID_ALGORITHM: 'algorithm not accepted',
  FAST_JWT_MALFORMED: 'malformed token',
  FAST_JWT_INVALID_PAYLOAD: 'malformed token'
}

// The claim is named in the message only: "The aud claim is required.", "None of aud claim values are allowed."
const fastJwtReason = (error: unknown): string | undefined => {
  const { code = '', message = '' } = error as { code?: string, message?: string }
  const claim = code.includes('CLAIM') ? /(\w+) claim/.exec(message)?.[1] : undefined
  return claim === undefined ? fastJwtReasons[code] : claimReason(claim, code === 'FAST_JWT_MISSING_REQUIRED_CLAIM')
}

const toReason = (error: unknown): string =>
  error instanceof TokenRejected ? error.message : joseReason(error) ?? fastJwtReason(error) ?? 'token not accepted'

const detail = 'Send a valid token in the header "Authorization: Bearer …"'

/** UNAUTHORIZED for a request without a token. One for all: a stack trace for each costs more than the response. */
export const tokenMissing = new ServiceFailure('UNAUTHORIZED', `${detail}.`, { challenge: 'Bearer' })

/**
 * UNAUTHORIZED with its challenge (RFC 6750, 3): a bare `Bearer` where no token was sent, otherwise with the reason of
 * what a verifier threw. A verifier checks the signature first, so that only the holder of a signed token learns more.
 */
export const unauthorized = (error?: unknown): ServiceFailure => {
  if (error === undefined) return tokenMissing
  const reason = toReason(error)
  const challenge = `Bearer error="invalid_token", error_description="${reason}"`
  return new ServiceFailure('UNAUTHORIZED', `${detail}: ${reason}.`, { challenge }, { cause: new TokenRejected(reason) })
}
