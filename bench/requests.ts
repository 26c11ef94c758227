import { createSigner } from 'fast-jwt'
import { finishedRows, tenant, toFinishedId, toJobId } from './datasets.ts'
import type { NextRequest } from './load.ts'
import type { Requests } from './scenarios.ts'

/*
 * The requests of the scenarios as bytes, built in advance.
 */

/** The key with which all servers of a run verify tokens. */
export const secret = 'the-secret-of-the-bench-and-of-its-servers'

/** Signs a token with all scopes that the bench needs. `client` is its subject, to get distinct tokens. */
export const sign = (client = tenant): string =>
  createSigner({ key: secret, algorithm: 'HS256', expiresIn: 3_600_000 })({
    sub: client, tenant, scope: 'jobs:read jobs:write jobs:work'
  })

/** The server, the token and the jobs that requests are built for. */
export type Place = {
  url: string
  token: string
  /** Ids of the jobs to poll, in turn, in the scenarios that need only one job. */
  polled: readonly string[]
  /** Number of jobs in the dataset; their ids are those of `toJobId`. */
  rows: number
}

type Claimed = { jobId: string, leaseToken: string }

const claimedJobs = 50
const leaseSeconds = 3600
// All values have the same number of digits, so that Content-Length is constant.
const firstReport = 1_000_000

const toHead = (method: string, url: string, path: string, headers: Record<string, string>): string => {
  const { host, pathname } = new URL(url)
  const lines = Object.entries({ host, connection: 'keep-alive', ...headers })
    .map(([name, value]) => `${name}: ${value}`)
  return `${method} ${pathname.replace(/\/$/, '')}${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`
}

/** The bytes of a request. The caller sets the Content-Length of a body. */
export const toRequest = (
  method: string, url: string, path: string, headers: Record<string, string>, body = ''
): Buffer => Buffer.from(toHead(method, url, path, headers) + body)

/** Returns the requests one after the other, starting over at the end. */
const inTurn = (requests: readonly Buffer[]): NextRequest => {
  const [first] = requests
  if (first === undefined) throw new Error('there is no request to send')
  if (requests.length === 1) return () => first
  let next = 0
  return () => {
    const request = requests[next] ?? first
    next = next + 1 === requests.length ? 0 : next + 1
    return request
  }
}

/** Returns any of the requests, again and again. */
const atRandom = (requests: readonly Buffer[]): NextRequest =>
  () => requests[Math.floor(Math.random() * requests.length)] as Buffer

const expectOk = async (answer: Response): Promise<Response> => {
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`)
  return answer
}

/** The body of a submission. */
export const submission = '{"type":"bench","input":null}'

/** Submits a job and resolves to its id. Throws with the service's response if that is an error. */
export const submitJob = async ({ url, token }: Pick<Place, 'url' | 'token'>): Promise<string> => {
  const answer = await expectOk(await fetch(`${url}/api/v1/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: submission
  }))
  return (await answer.json() as { jobId: string }).jobId
}

const claimJob = async (place: Place): Promise<Claimed> => {
  await submitJob(place)
  const answer = await expectOk(await fetch(`${place.url}/api/v1/worker/claim`, {
    method: 'POST',
    headers: { authorization: `Bearer ${place.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ types: ['bench'], leaseSeconds })
  }))
  return await answer.json() as Claimed
}

const findETag = async ({ url, token }: Place, jobId: string): Promise<string> => {
  const headers = { authorization: `Bearer ${token}` }
  const answer = await expectOk(await fetch(`${url}/api/v1/jobs/${jobId}`, { headers }))
  await answer.arrayBuffer()
  return answer.headers.get('etag') ?? ''
}

const createReports = (place: Place, jobs: readonly Claimed[]): NextRequest => {
  const body = (done: number) => `{"done":${done},"total":9999999}`
  const heads = jobs.map(({ jobId, leaseToken }) => toHead('POST', place.url, `/api/v1/worker/jobs/${jobId}/progress`, {
    authorization: `Bearer ${place.token}`,
    'lease-token': leaseToken,
    'content-type': 'application/json',
    'content-length': String(body(firstReport).length)
  }))
  let made = 0
  return () => {
    const request = Buffer.from(`${heads[made % heads.length]}${body(firstReport + made)}`)
    made++
    return request
  }
}

/** Builds the requests for one server. Jobs that have to be claimed there are claimed only once. */
export const createRequests = (place: Place) => {
  const { url, token, polled, rows } = place
  let claims: Promise<Claimed[]> | undefined
  const get = (path: string, headers: Record<string, string> = { authorization: `Bearer ${token}` }): Buffer =>
    toRequest('GET', url, path, headers)
  const times = <Value>(count: number, make: (n: number) => Value): Value[] =>
    Array.from({ length: count }, (_, n) => make(n))

  const claim = (): Promise<Claimed[]> => {
    claims ??= Promise.all(times(claimedJobs, () => claimJob(place)))
    return claims
  }

  return async (requests: Requests): Promise<NextRequest> => {
    switch (requests.kind) {
      case 'status':
        return inTurn(polled.map(jobId =>
          get(requests.view === 'v1' ? `/api/v1/jobs/${jobId}` : `/api/jobs/${jobId}/status`)))
      case 'random':
        return atRandom(times(requests.jobs, n => get(`/api/v1/jobs/${toJobId(n)}`)))
      case 'finished':
        return inTurn(times(finishedRows, n => get(`/api/v1/jobs/${toFinishedId(n)}`)))
      case 'not-modified':
        return inTurn(await Promise.all(polled.map(async jobId => get(`/api/v1/jobs/${jobId}`, {
          authorization: `Bearer ${token}`, 'if-none-match': await findETag(place, jobId)
        }))))
      case 'absent':
        return inTurn([get('/api/v1/jobs/no-such-job')])
      case 'unauthenticated':
        return inTurn(polled.map(jobId => get(`/api/v1/jobs/${jobId}`, {})))
      case 'each':
        return inTurn(times(requests.jobs, n => get(`/api/v1/jobs/${toJobId(n * Math.floor(rows / requests.jobs))}`)))
      case 'bulk':
        return inTurn([get(`/api/v1/jobs?ids=${times(requests.jobs, toJobId).join(',')}`)])
      case 'tokens':
        return inTurn(times(requests.tokens, n =>
          get(`/api/v1/jobs/${polled[0]}`, { authorization: `Bearer ${sign(`client-${n}`)}` })))
      case 'claimed':
        return inTurn((await claim()).map(({ jobId }) => get(`/api/v1/jobs/${jobId}`)))
      case 'progress':
        return createReports(place, await claim())
      case 'control':
        return inTurn([get('/')])
      case 'peer':
        return inTurn([get('/job-0')])
      case 'each-of-peer':
        return inTurn(times(requests.jobs, n => get(`/${toJobId(n)}`)))
    }
  }
}

/** The place for a server of this run that uses a dataset with `rows` jobs. */
export const toPlace = (url: string, rows: number): Place => ({ url, token: sign(), polled: [toJobId(0)], rows })
