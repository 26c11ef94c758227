import type { Json, Service } from '../../../helpers/service.ts'
import type { TokenClaims } from '../../../helpers/tokens.ts'

/** A token that opens all that a story needs. */
export const workerClaims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work' }

/** The body of an answer, to be looked into. */
export const jsonOf = async (answer: Response | Promise<Response>): Promise<Json> => await (await answer).json()

type Ask = { claims?: TokenClaims, headers?: Record<string, string> }

export type Claimed = { jobId: string, leaseToken: string, attempt: number, [field: string]: Json }

/** What workers do, in the words of this service. A `token` of null leaves the header out. */
export const createWorkerClient = ({ ask }: Pick<Service, 'ask'>, claims = workerClaims) => {
  const on = (jobId: string, command: string, method: string, token: string | null, body?: unknown, more: Ask = {}) =>
    ask(`/api/v1/worker/jobs/${jobId}/${command}`, {
      method, claims, ...more, ...(body === undefined ? {} : { body }), headers: { ...(token === null ? {} : { 'lease-token': token }), ...more.headers }
    })
  return {
    claim: async (body: Record<string, unknown>, more: Ask = {}) =>
      await ask('/api/v1/worker/claim', { method: 'POST', claims, body, ...more }),
    /** The job that there is to be. */
    claimed: async (type: string, more: Record<string, unknown> = {}): Promise<Claimed> => {
      const answer = await ask('/api/v1/worker/claim', { method: 'POST', claims, body: { types: [type], ...more } })
      if (answer.status !== 200) throw new Error(`nothing claimed: ${answer.status} ${await answer.text()}`)
      return await answer.json() as Claimed
    },
    /** `progress`, `complete` or `fail`. */
    report: (jobId: string, command: string, token: string | null, body?: unknown, more?: Ask) => on(jobId, command, 'POST', token, body, more),
    input: (jobId: string, token: string | null, more?: Ask) => on(jobId, 'input', 'GET', token, undefined, more),
    upload: (jobId: string, token: string | null, offset: number | string, body: string, more?: Ask) =>
      on(jobId, `result?offset=${offset}`, 'PUT', token, body, more)
  }
}

export type WorkerClient = ReturnType<typeof createWorkerClient>
