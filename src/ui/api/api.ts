import { type Client, createClient, JobServiceError, type RequestOptions } from '../../client/client.ts'

/*
 * The client of the service with the token of this tab. The page shows what goes wrong, so requests are sent once unless
 * they ask for patience.
 */

export type ApiNeeds = {
  /** The path of the page, to which the paths of the API are relative; ends without `ui`. */
  base: string
  fetch: typeof fetch
  /** The token; null: none was entered yet. */
  token: () => string | null
  /** The service rejects the token. `reason` is what it says. */
  onRejected: (token: string, reason: string) => void
}

export type Api = Pick<Client, 'request' | 'result' | 'stream'> & {
  /** The JSON body of a response. */
  json: <Body>(path: string, options?: RequestOptions) => Promise<Body>
}

/** The code of a result at another address. */
export const externalResult = 'EXTERNAL_RESULT'

const toReason = (challenge: string | null): string =>
  /error_description="([^"]*)"/.exec(challenge ?? '')?.[1] ?? 'the service asks for a token'

/** Whether the service rejects the request itself, so that the same one is of no use later. */
export const isFinal = ({ status }: JobServiceError): boolean => status >= 400 && status < 500 && status !== 429

/** The failure of a call; of anything else, one without a code. */
export const toFailure = (error: unknown): JobServiceError =>
  error instanceof JobServiceError ? error : new JobServiceError('UNKNOWN', String(error))

export const createApi = ({ base, fetch, token, onRejected }: ApiNeeds): Api => {
  const { request, result, stream } = createClient({
    url: base,
    patienceMs: 0,
    token: () => {
      const text = token()
      if (text === null) throw new JobServiceError('UNAUTHORIZED', 'No token was entered.', { status: 401 })
      return text
    },
    platform: {
      fetch: async (target, init) => {
        // An external result leads to another host, which the page asks nothing of.
        const response = await fetch(target, { ...init, redirect: 'manual', cache: 'no-store' })
        if (response.type === 'opaqueredirect') {
          return Response.json({ code: externalResult, detail: 'The result is at another address.' }, { status: 404 })
        }
        if (response.status === 401) {
          const sent = new Headers(init?.headers).get('authorization')?.replace('Bearer ', '') ?? ''
          onRejected(sent, toReason(response.headers.get('www-authenticate')))
        }
        return response
      }
    }
  })
  return {
    request,
    result,
    stream,
    json: async <Body>(path: string, options?: RequestOptions) => await (await request(path, options)).json() as Body
  }
}
