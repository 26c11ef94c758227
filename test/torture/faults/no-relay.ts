import { createRedisCache } from '../../../src/cache/redis-cache.ts'
import { runService } from '../../../src/serve/run-service.ts'

/*
 * A service that brings no change by other programs to the cache. It waits longer for replies of Redis than others, since
 * its cache would be off most of the time on a busy machine.
 */

await runService({
  parts: {
    createRelay: () => () => Promise.resolve(0),
    createRedisCache: needs => createRedisCache({ ...needs, replyMsMax: 2000 })
  }
})
