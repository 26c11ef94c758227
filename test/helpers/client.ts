import { bearer, type TokenClaims } from './tokens.ts'
import { until } from './until.ts'

/*
 * The HTTP client of the tests. What fetch cannot send is in raw-http.ts.
 */

/** Parsed JSON, whose fields a test reads unchecked. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any

export type Ask = {
  method?: string
  claims?: TokenClaims
  headers?: Record<string, string>
  body?: unknown
  signal?: AbortSignal
}

/** A client of a service: `ask` sends a real HTTP request with a token (unless the header is given). */
export const createClient = (url: string) => {
  const ask = async (path: string, options: Ask = {}): Promise<Response> => {
    const { method = 'GET', claims, headers = {}, body, signal } = options
    return await fetch(url + path, {
      method,
      redirect: 'manual',
      ...(signal === undefined ? {} : { signal }),
      headers: {
        ...('authorization' in headers ? {} : bearer(claims)),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) })
    }).catch((cause: unknown) => { throw new Error(`${method} ${path} was not answered`, { cause }) })
  }
  const askJson = async (path: string, options?: Ask): Promise<Json> => await (await ask(path, options)).json()
  const submit = async (type: string, input: unknown, options: Ask = {}): Promise<string> =>
    (await askJson('/api/v1/jobs', { method: 'POST', ...options, body: { type, input } })).jobId as string
  /** Polls until the job has ended; the v1 view. */
  const finished = async (jobId: string, options?: Ask) => await until(async () => {
    const job = await askJson(`/api/v1/jobs/${jobId}`, options)
    return job.status === 'Succeeded' || job.status === 'Failed' ? job : undefined
  }, 'the end of the job')
  return { url, ask, askJson, submit, finished }
}

export type Client = ReturnType<typeof createClient>

/** The scopes of a client that submits, polls and works. */
export const workerClaims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work' }

/** The JSON body of a response. */
export const jsonOf = async (answer: Response | Promise<Response>): Promise<Json> => await (await answer).json()

export type Claimed = { jobId: string, leaseToken: string, attempt: number, [field: string]: Json }

type More = Pick<Ask, 'claims' | 'headers'>

/** The routes of a worker. A `token` of null omits the header. */
export const createWorkerClient = ({ ask }: Pick<Client, 'ask'>, claims = workerClaims) => {
  const on = (jobId: string, command: string, method: string, token: string | null, body?: unknown, more: More = {}) =>
    ask(`/api/v1/worker/jobs/${jobId}/${command}`, {
      method,
      claims,
      ...more,
      ...(body === undefined ? {} : { body }),
      headers: { ...(token === null ? {} : { 'lease-token': token }), ...more.headers }
    })
  return {
    claim: async (body: Record<string, unknown>, more: More = {}) =>
      await ask('/api/v1/worker/claim', { method: 'POST', claims, body, ...more }),
    /** Claims a job that must be available. */
    claimed: async (type: string, more: Record<string, unknown> = {}): Promise<Claimed> => {
      const answer = await ask('/api/v1/worker/claim', { method: 'POST', claims, body: { types: [type], ...more } })
      if (answer.status !== 200) throw new Error(`nothing claimed: ${answer.status} ${await answer.text()}`)
      return await answer.json() as Claimed
    },
    /** `progress`, `complete` or `fail`. */
    report: (jobId: string, command: string, token: string | null, body?: unknown, more?: More) =>
      on(jobId, command, 'POST', token, body, more),
    input: (jobId: string, token: string | null, more?: More) => on(jobId, 'input', 'GET', token, undefined, more),
    upload: (jobId: string, token: string | null, offset: number | string, body: string, more?: More) =>
      on(jobId, `result?offset=${offset}`, 'PUT', token, body, more)
  }
}

export type WorkerClient = ReturnType<typeof createWorkerClient>
