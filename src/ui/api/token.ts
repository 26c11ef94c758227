/** What a token says of itself. The service alone decides whether it is valid. */
export type Claims = { subject: string, tenant: string, scopes: readonly string[], expiresAt: number }

const toText = (base64url: string): string => {
  const bytes = Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), char => char.charCodeAt(0))
  return new TextDecoder().decode(bytes)
}

// As the service reads them; without a claim a token has these.
const toScopes = ({ scope, scp }: Record<string, unknown>): string[] => {
  const claim = scope ?? scp ?? 'jobs:read jobs:write'
  if (Array.isArray(claim)) return claim.map(String)
  return typeof claim === 'string' ? claim.split(' ').filter(word => word !== '') : []
}

/** The claims of a JWT; null if the text is none. */
export const readClaims = (token: string): Claims | null => {
  try {
    const payload = JSON.parse(toText(token.split('.')[1] ?? '')) as Record<string, unknown>
    const { sub, tenant = sub, exp } = payload
    if (typeof sub !== 'string' || typeof exp !== 'number') return null
    return { subject: sub, tenant: String(tenant), scopes: toScopes(payload), expiresAt: exp * 1000 }
  } catch {
    return null
  }
}
