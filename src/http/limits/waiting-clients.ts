import type { ServerResponse } from 'node:http'
import type { Schedule } from '../../schedule.ts'
import type { Principal } from '../auth/principal.ts'

/*
 * The clients that wait: for a long poll, on a stream of events, for the change feed. Each holds a connection and some
 * memory, so their number is limited, and one tenant may hold at most half of it.
 */

/** What a client waits with. */
export type WaitKind = 'long-poll' | 'stream' | 'feed'

/** Why a wait ends before what the client waits for has come. */
export type WaitEnd = 'limit' | 'draining' | 'token-expired' | 'disconnected'

/** `ended` resolves if the wait has to end; `leave` makes room for another client, and is called whatever ended it. */
export type Wait = { ended: Promise<WaitEnd>, leave: () => void }

export type WaitingClients = {
  /**
   * Lets a client wait for some ms. Returns null if too many wait, or if the process drains; a stream of the events of a
   * job then gets a wait that has ended, so that it is over after the first event.
   */
  admit: (kind: WaitKind, principal: Principal, ms: number, response: ServerResponse) => Wait | null
  /** Ends every wait; from now on none is admitted. */
  endAll: () => void
}

export type WaitingClientsNeeds = {
  /** The most clients that may wait at once. */
  waitersMax: number
  /** ms since 1970. */
  now: () => number
  schedule: Schedule
  /** Called with the number of clients of this kind, whenever it changes. */
  onCount: (kind: WaitKind, count: number) => void
}

// The longest time of a timer of Node.
const timerMsMax = 2 ** 31 - 1

export const createWaitingClients = (
  { waitersMax, now, schedule, onCount }: WaitingClientsNeeds
): WaitingClients => {
  const waits = new Set<(end: WaitEnd) => void>()
  const ofTenant = new Map<string, number>()
  const ofKind = new Map<WaitKind, number>()
  const tenantMax = Math.ceil(waitersMax / 2)
  let isOver = false

  const count = (kind: WaitKind, tenant: string, by: 1 | -1): void => {
    const tenants = (ofTenant.get(tenant) ?? 0) + by
    if (tenants === 0) ofTenant.delete(tenant)
    else ofTenant.set(tenant, tenants)
    const kinds = (ofKind.get(kind) ?? 0) + by
    ofKind.set(kind, kinds)
    onCount(kind, kinds)
  }

  return {
    admit: (kind, { tenant, expiresAt }, ms, response) => {
      if (isOver && kind === 'stream') return { ended: Promise.resolve('draining'), leave: () => {} }
      const isFull = waits.size >= waitersMax || (ofTenant.get(tenant) ?? 0) >= tenantMax
      if (isOver || isFull) return null
      const { promise: ended, resolve } = Promise.withResolvers<WaitEnd>()
      const tokenMs = expiresAt - now()
      const timer = schedule(
        () => { resolve(tokenMs <= ms ? 'token-expired' : 'limit') }, Math.min(ms, tokenMs, timerMsMax)
      )
      const onClose = () => { resolve('disconnected') }
      response.once('close', onClose)
      if (response.destroyed) onClose()
      waits.add(resolve)
      count(kind, tenant, 1)
      const leave = () => {
        if (!waits.delete(resolve)) return
        timer.cancel()
        response.off('close', onClose)
        count(kind, tenant, -1)
      }
      return { ended, leave }
    },
    endAll: () => {
      isOver = true
      for (const end of waits) end('draining')
    }
  }
}
