/** A request that failed. `status` 0: the service could not be reached. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly retryAfterMs: number | null

  constructor (status: number, code: string, message: string, retryAfterMs: number | null = null) {
    super(message)
    this.status = status
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

type Failure = { code?: string, detail?: string, error?: { code?: string, message?: string } }

/** The error that a response describes, in either form of the API. */
const toApiError = async (response: Response): Promise<ApiError> => {
  const { code, detail, error } = await response.json().catch(() => ({})) as Failure
  const seconds = Number(response.headers.get('retry-after') ?? 'NaN')
  return new ApiError(
    response.status, error?.code ?? code ?? 'UNKNOWN', error?.message ?? detail ?? `HTTP ${response.status}`,
    Number.isFinite(seconds) ? seconds * 1000 : null
  )
}

export type ApiNeeds = {
  /** The path of the page, to which the paths of the API are relative; ends without `ui`. */
  base: string
  fetch: typeof fetch
  /** The token; null: none was entered yet. */
  token: () => string | null
  /** The service rejects the token. `reason` is what it says. */
  onRejected: (token: string, reason: string) => void
}

export type Options = { method?: string, headers?: Record<string, string>, signal?: AbortSignal, body?: string }

export type Api = {
  /** A response with a status below 400, or 304. Throws ApiError. */
  send: (path: string, options?: Options) => Promise<Response>
  /** The JSON body of such a response. */
  json: <Body>(path: string, options?: Options) => Promise<Body>
}

const toReason = (challenge: string | null): string =>
  /error_description="([^"]*)"/.exec(challenge ?? '')?.[1] ?? 'the service asks for a token'

/** The API of the service with the token of this tab. */
export const createApi = ({ base, fetch, token, onRejected }: ApiNeeds): Api => {
  const send = async (path: string, { headers = {}, ...options }: Options = {}): Promise<Response> => {
    const sent = token()
    if (sent === null) throw new ApiError(401, 'UNAUTHORIZED', 'No token was entered.')
    const response = await fetch(`${base}${path}`, {
      // An external result leads to another host, which the page asks nothing of.
      redirect: 'manual', cache: 'no-store', ...options, headers: { authorization: `Bearer ${sent}`, ...headers }
    }).catch((error: unknown) => {
      if (options.signal?.aborted === true) throw error
      throw new ApiError(0, 'UNREACHABLE', 'The service cannot be reached.')
    })
    if (response.type === 'opaqueredirect') throw new ApiError(303, 'EXTERNAL_RESULT', 'The result is at another address.')
    if (response.status === 401) onRejected(sent, toReason(response.headers.get('www-authenticate')))
    if (response.status >= 400) throw await toApiError(response)
    return response
  }
  return { send, json: async <Body>(path: string, options?: Options) => await (await send(path, options)).json() as Body }
}
