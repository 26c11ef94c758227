import { type TSchema, Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { principalOf } from '../auth/principal.ts'
import { TokenRejected, unauthorized } from '../auth/rejected-token.ts'
import type { Wait, WaitEnd, WaitingClients } from '../limits/waiting-clients.ts'

/*
 * How long a client is willing to wait for a response: the parameter `wait`, or the preference of RFC 7240, 4.3.
 */

/** The most seconds that a client is made to wait: proxies tend to cut a connection that is idle for a minute. */
export const waitSecondsMax = 55

/** The parameter of a route that can wait. */
export const waitParameter = Type.Optional(Type.Number({
  minimum: 0,
  description: `Seconds to wait for what the response is to show. Default: 0; more than ${waitSecondsMax} counts as
    ${waitSecondsMax}. The header \`Prefer: wait=10\` says the same.`.replaceAll(/\s+/g, ' ')
}))

/** The documented header that says how long the client was allowed to wait. */
export const preferenceApplied = {
  'Preference-Applied': Type.String({
    description: 'wait=10: the seconds that the client was allowed to wait; where a wait was asked for.'
  })
}

type DocumentedResponse = { headers?: Record<string, TSchema> }

/** The documented responses of a route that can wait. Its failures have the header too, once a wait was granted. */
export const mayWait = <Responses extends Record<string, DocumentedResponse>>(responses: Responses): Responses =>
  Object.fromEntries(Object.entries(responses).map(([status, response]) =>
    [status, { ...response, headers: { ...response.headers, ...preferenceApplied } }])) as unknown as Responses

const waitPreference = /(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[;,]|$)/i

/** The seconds that a request asks to wait; undefined if it does not. `wait`: its parameter of that name. */
export const waitSecondsOf = (
  { headers: { prefer } }: Pick<FastifyRequest, 'headers'>, wait: number | undefined
): number | undefined => {
  if (wait === undefined && prefer === undefined) return undefined
  const seconds = wait ?? waitPreference.exec(String(prefer))?.[1]
  return seconds === undefined ? undefined : Math.min(Number(seconds), waitSecondsMax)
}

/**
 * What to do once a wait has ended without what the client waits for: true, if the state as it is now is to be sent;
 * false, if the client has disconnected. Throws UNAUTHORIZED if the token has expired.
 */
export const requireListening = async ({ ended }: Wait): Promise<boolean> => {
  const end = await ended
  if (end === 'token-expired') throw unauthorized(new TokenRejected('token expired'))
  return end !== 'disconnected'
}

/** `applied` is the value of Preference-Applied. `wait` null: the response is to be sent at once. */
export type GrantedWait = { applied: string, wait: Wait | null }

/** Grants the wait that a request asks for, or none at all if too many clients wait. undefined: it asks for none. */
export const grantWait = (
  waitingClients: WaitingClients, request: FastifyRequest, reply: { raw: Parameters<WaitingClients['admit']>[3] },
  parameter: number | undefined
): GrantedWait | undefined => {
  const seconds = waitSecondsOf(request, parameter)
  if (seconds === undefined) return undefined
  const wait = seconds === 0
    ? null
    : waitingClients.admit('long-poll', principalOf(request), seconds * 1000, reply.raw)
  request.isLongPoll = wait !== null
  return { applied: `wait=${wait === null ? 0 : seconds}`, wait }
}

/**
 * Waits as long as a request asks to, for what `work` waits for, and returns what it returns: null at the limit, if no
 * wait is granted, or if none is asked for; then the state as it is now is to be sent. Sets Preference-Applied.
 */
export const waitFor = async <Value>(
  waitingClients: WaitingClients, request: FastifyRequest, reply: FastifyReply, parameter: number | undefined,
  work: (ended: Promise<WaitEnd>) => Promise<Value | null>
): Promise<Value | null> => {
  const granted = grantWait(waitingClients, request, reply, parameter)
  if (granted === undefined) return null
  const { applied, wait } = granted
  reply.header('preference-applied', applied)
  if (wait === null) return null
  // Many clients wait, and a body may have a MiB.
  request.body = undefined
  try {
    const awaited = await work(wait.ended)
    if (awaited === null) await requireListening(wait)
    return awaited
  } finally {
    wait.leave()
  }
}
