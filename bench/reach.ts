import type { Place } from './requests.ts'

/*
 * The first requests to a deployed service: if one fails, its error says what the operator can correct. No message
 * contains the token.
 */

export type Target = Pick<Place, 'url' | 'token'>

// The form of RFC 6750, 2.1. fetch would name any other value in its error.
const tokenExpression = /^[A-Za-z0-9._~+/-]+=*$/

export const isToken = (text: string): boolean => tokenExpression.test(text)

/** The text without the token. */
export const redact = (text: string, token: string | undefined): string =>
  token === undefined || token === '' ? text : text.replaceAll(token, '[token]')

const reasons: Record<string, string> = {
  ECONNREFUSED: 'the connection is refused: nothing listens there',
  ECONNRESET: 'the connection is reset; is it http in place of https?',
  ENOTFOUND: 'the name cannot be resolved (DNS)',
  EAI_AGAIN: 'the name cannot be resolved now (DNS)',
  EHOSTUNREACH: 'there is no route to the host',
  ENETUNREACH: 'there is no route to the network',
  ETIMEDOUT: 'the connection timed out',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_HEADERS_TIMEOUT: 'no response arrived in time',
  UND_ERR_SOCKET: 'the connection closed without a response; is it https in place of http?'
}

const isOfTls = (code: string): boolean => /CERT|SSL|TLS|SIGNATURE|^EPROTO$/.test(code)

const describe = (error: unknown): string => {
  const { cause } = error as { cause?: { code?: string, message?: string } }
  const { code = '', message = String(error) } = cause ?? {}
  if (isOfTls(code)) return `TLS fails: ${message.trim()} (${code})`
  return Object.hasOwn(reasons, code) ? `${reasons[code]} (${code})` : message
}

const hintOf = (answer: Response): string => {
  const { status, headers } = answer
  const location = headers.get('location')
  const why = /error_description="([^"]*)"/.exec(headers.get('www-authenticate') ?? '')?.[1]
  switch (status) {
    case 401: return `the token is not accepted${why === undefined ? '' : `: ${why}`}`
    case 403: return 'the token lacks a scope: jobs:read, and jobs:write unless --job names a job'
    case 404: return 'there is no such job for this token, or no job status service at this URL'
    case 410: return 'the job has been removed'
    case 429: return 'the rate limit is exceeded already'
    case 503: return 'the service is not available'
    default: return location === null ? 'this is no response of a job status service' : `it redirects to ${location}`
  }
}

/** Sends one request with the token. Throws unless the response is a 2xx. */
export const reach = async (
  { url, token }: Target, path: string, { method = 'GET', body }: { method?: string, body?: string } = {}
): Promise<Response> => {
  const answer = await fetch(url + path, {
    method,
    redirect: 'manual',
    headers: {
      authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' })
    },
    ...(body === undefined ? {} : { body })
  }).catch((error: unknown) => { throw new Error(redact(`cannot reach ${new URL(url).origin}: ${describe(error)}`, token)) })
  if (answer.ok) return answer
  await answer.arrayBuffer()
  throw new Error(redact(`${method} ${url}${path} is ${answer.status}: ${hintOf(answer)}`, token))
}
