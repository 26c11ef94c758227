import { createRedisCache } from '../../../src/cache/redis-cache.ts'
import type { Lookup } from '../../../src/cache/status-cache.ts'
import { runService } from '../../../src/serve/run-service.ts'

/*
 * A service that goes on with the same cells after a command whose outcome is unknown.
 */

const miss: Lookup = { kind: 'miss' }
const ignore = (): void => {}

await runService({
  parts: {
    createRedisCache: needs => {
      const cache = createRedisCache(needs)
      let known: string | undefined
      return {
        ...cache,
        get: async (...args) => await Promise.resolve(cache.get(...args)).catch(() => miss),
        getMany: (epoch, jobIds) => cache.getMany(epoch, jobIds).catch(() => jobIds.map(() => miss)),
        lease: (...args) => cache.lease(...args).catch(() => ({ kind: 'token', token: '' })),
        expose: (...args) => cache.expose(...args).catch(ignore),
        exposeMany: (...args) => cache.exposeMany(...args).catch(ignore),
        invalidate: (...args) => cache.invalidate(...args).catch(() => false),
        identify: async () => {
          known ??= await cache.identify()
          return known
        },
        onDisconnect: ignore
      }
    }
  }
})
