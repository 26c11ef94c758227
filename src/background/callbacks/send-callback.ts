import type { OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import { isIPv6, type LookupFunction } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { reasonOf } from '../../errors.ts'
import { type AllowedHost, findRefusedRange, isAddress, isNamed } from '../../job/callbacks/allowed-hosts.ts'
import type { TryOutcome } from '../../job/callbacks/callback.ts'
import { type CallbackTarget, findRefusal, toCallbackTarget } from '../../job/callbacks/callback-url.ts'
import { request as httpRequest } from '../../node-http.ts'
import type { Schedule } from '../../schedule.ts'
import type { ResolveHost } from './resolve.ts'

/** What a try sends: the same bytes under the same id each time, with a signature for each of the keys. */
export type CallbackMessage = { id: string, url: string, body: string, secrets: readonly string[] }

/** Makes one try. Resolves in any case, soon after the signal at the latest. */
export type SendCallback = (message: CallbackMessage, signal: AbortSignal) => Promise<TryOutcome>

export type SendCallbackNeeds = {
  allowed: readonly AllowedHost[]
  resolve: ResolveHost
  /** ms since 1970. */
  now: () => number
  schedule: Schedule
  /** Certificates of authorities to trust in place of the usual ones. */
  ca?: string
}

/** How long a try may take: to resolve the name, to connect, and until the response has ended. */
export const tryMsMax = 15_000

// A receiver that sends more has its connection closed; its status counts all the same.
const discardedBytesMax = 64 * 1024

const failed = (error: string, status: number | null = null): TryOutcome =>
  ({ kind: 'failed', status, error, retryAfterMs: 0, isFinal: false })

class Refused extends Error {}

/** In seconds, or a date (RFC 9110, 10.2.3). */
const toRetryAfterMs = (value: string | undefined, now: number): number => {
  if (value === undefined) return 0
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return Number.isFinite(ms) ? Math.max(0, ms) : 0
}

const toOutcome = (status: number, retryAfterMs: number): TryOutcome => {
  if (status >= 200 && status < 300) return { kind: 'delivered', status }
  const isRedirect = status >= 300 && status < 400
  const error = isRedirect ? `answered ${status}: redirects are not followed` : `answered ${status}`
  return { kind: 'failed', status, error, retryAfterMs, isFinal: status === 410 }
}

const toHeaders = ({ id, body, secrets }: CallbackMessage, { host }: CallbackTarget, now: number) => {
  const at = new Date(now)
  return {
    host,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'user-agent': 'job-status-service',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': secrets.map(secret => new Webhook(secret).sign(id, at, body)).join(' ')
  }
}

// Gives the addresses that were checked, whatever the name resolves to by now.
const lookupOf = (addresses: readonly string[]): LookupFunction => (_name, options, callback) => {
  const all = addresses.map(address => ({ address, family: isIPv6(address) ? 6 : 4 }))
  if (options.all === true) callback(null, all)
  else callback(null, all[0]?.address ?? '', all[0]?.family)
}

type Request = { target: CallbackTarget, addresses: readonly string[], headers: OutgoingHttpHeaders, body: string }

const post = (
  { target, addresses, headers, body }: Request, ca: string | undefined, signal: AbortSignal
): Promise<{ status: number, retryAfter: string | undefined }> => new Promise((resolve, reject) => {
  const { protocol, hostName, port, path } = target
  const options = { method: 'POST', host: hostName, port, path, headers, agent: false, signal, lookup: lookupOf(addresses) }
  const request = protocol === 'https:'
    ? https.request({ ...options, ...(ca === undefined ? {} : { ca }) })
    : httpRequest(options)
  request.on('error', reject)
  request.on('response', response => {
    const { statusCode: status = 0, headers: { 'retry-after': retryAfter } } = response
    let discarded = 0
    response.on('data', (chunk: Buffer) => {
      discarded += chunk.byteLength
      if (discarded > discardedBytesMax) response.destroy()
    })
    // What the receiver thinks of the callback is in its status, also where its response breaks off.
    response.on('error', () => {})
    response.on('close', () => { resolve({ status, retryAfter }) })
  })
  request.end(body)
})

const untilAborted = async <Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> => {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => { aborted.reject(signal.reason) }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

// Without the address: it may be one of the operator's network, which the client is not to learn.
const requireReachable = (target: CallbackTarget, addresses: readonly string[], allowed: readonly AllowedHost[]): void => {
  const refused = addresses.map(address => findRefusedRange(allowed, address, target.port)).find(Boolean)
  if (refused !== undefined) throw new Refused(`the host has an address that is not public (${refused})`)
  if (addresses.length === 0) throw new Refused('the host has no address')
}

/*
 * The name is resolved once. All its addresses are checked, and the connection is made to these and no others: a name
 * that resolves to a public address for the check and to a private one for the connection (DNS rebinding) gains nothing.
 */
export const createSendCallback = ({ allowed, resolve, now, schedule, ca }: SendCallbackNeeds): SendCallback => {
  const findAddresses = async (target: CallbackTarget, signal: AbortSignal): Promise<string[]> => {
    const { hostName, port } = target
    // The configuration may have changed since the submission.
    const refusal = findRefusal(target, allowed)
    if (refusal !== undefined) throw new Refused(`the URL ${refusal}`)
    if (isAddress(hostName)) return [hostName]
    const isAllowed = isNamed(allowed, hostName, port)
    const addresses = await untilAborted(resolve(hostName, isAllowed, signal), signal)
      .catch((error: unknown) => { throw signal.aborted ? error : new Refused(`the host was not found: ${reasonOf(error)}`) })
    if (!isAllowed) requireReachable(target, addresses, allowed)
    return addresses
  }

  return async (message, signal) => {
    const outOfTime = new AbortController()
    const timer = schedule(() => { outOfTime.abort() }, tryMsMax)
    const either = AbortSignal.any([signal, outOfTime.signal])
    try {
      const target = toCallbackTarget(message.url)
      const addresses = await findAddresses(target, either)
      const headers = toHeaders(message, target, now())
      const { status, retryAfter } = await post({ target, addresses, headers, body: message.body }, ca, either)
      return toOutcome(status, toRetryAfterMs(retryAfter, now()))
    } catch (error) {
      if (error instanceof Refused) return failed(error.message)
      if (outOfTime.signal.aborted) return failed(`no response within ${tryMsMax / 1000} s`)
      return failed(`the connection failed: ${reasonOf(error)}`)
    } finally {
      timer.cancel()
    }
  }
}
