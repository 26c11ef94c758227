import { randomBytes } from 'node:crypto'
import { createRelay } from '../background/relay.ts'
import type { RedisCache, RedisCacheNeeds } from '../cache/redis-cache.ts'
import { createCoherence } from '../status/coherence.ts'
import { createChangeFeed } from '../status/feed/change-feed.ts'
import { openStore } from '../store/open/open-store.ts'
import { createCommit } from '../write/commit.ts'
import { createRunJob } from '../write/runs/run-job.ts'

/**
 * The factories that a test may replace in order to break one rule on purpose: the test of a guarantee has to fail for
 * such a service. Production uses the real ones.
 */
export type Parts = {
  openStore: typeof openStore
  createRedisCache: (needs: RedisCacheNeeds) => RedisCache | Promise<RedisCache>
  createCoherence: typeof createCoherence
  createChangeFeed: typeof createChangeFeed
  createCommit: typeof createCommit
  createRunJob: typeof createRunJob
  createRelay: typeof createRelay
}

// A process without Redis does not load its client.
const createRedisCache: Parts['createRedisCache'] = async needs => {
  const { createRedisCache: create } = await import('../cache/redis-cache.ts')
  return create(needs)
}

/** What production uses. */
export const realParts: Parts = {
  openStore, createRedisCache, createCoherence, createChangeFeed, createCommit, createRunJob, createRelay
}

/** Names a process, a lease, an epoch. */
export const randomId = (): string => randomBytes(12).toString('base64url')
