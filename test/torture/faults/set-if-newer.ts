import { createRedisCache } from '../../../src/cache/redis-cache.ts'
import { runService } from '../../../src/serve/run-service.ts'

/*
 * A service that puts every entry into its cell unless a newer one is there, into an empty cell too: tokens mean nothing.
 * In one command, as the schemes that people use: a flush between two commands would hide the fault. It is patient with
 * Redis: a process that leaves the cache, as one does on a busy machine, makes no mistake with it.
 */

const expose = `
for i, key in ipairs(KEYS) do
  local version, entry, ttl = unpack(ARGV, i * 4 - 3, i * 4 - 1)
  local cell = redis.call('GET', key)
  local found = cell and tonumber(string.match(cell, '^E(%d+) '))
  if not found or found < tonumber(version) then
    redis.call('SET', key, entry, 'PX', ttl)
  end
end
return {}`

await runService({
  parts: { createRedisCache: needs => createRedisCache({ ...needs, replyMsMax: 2000, scripts: { expose } }) }
})
