import { reasonOf } from '../errors.ts'
import type { EpochStatus, Mode } from './epoch/epoch.ts'

/**
 * The state of the store or the cache. `since` in ms since 1970: the last change. `mode`: what the cache is used for.
 */
export type PartHealth = { kind: string, ok: boolean, since: number, reason: string | null, mode?: Mode }

export type StoreCheckNeeds = {
  kind: string
  /** Throws unless the store answers. */
  ping: () => Promise<void>
  /** ms since 1970. */
  now: () => number
  /** Called on every change. */
  onChange: (health: PartHealth) => void
}

/** Checks whether the store answers. */
export const createStoreCheck = ({ kind, ping, now, onChange }: StoreCheckNeeds): (() => Promise<PartHealth>) => {
  let health: PartHealth = { kind, ok: true, since: now(), reason: null }
  return async () => {
    const reason = await ping().then(() => null, (error: Error) => reasonOf(error.cause ?? error))
    const ok = reason === null
    if (ok !== health.ok) {
      health = { kind, ok, since: now(), reason }
      onChange(health)
    }
    return health
  }
}

export const toCacheHealth = (kind: string, { mode, since, reason }: EpochStatus): PartHealth =>
  ({ kind, ok: mode === 'on', since, reason, mode })
