import { setTimeout as delay } from 'node:timers/promises'
import { runService } from '../../../src/serve/run-service.ts'
import { createChangeFeed } from '../../../src/status/feed/change-feed.ts'

/*
 * A service whose feed breaks two rules. Once it has read a page it goes on from the newest change there is, in place of
 * the page's last one. And it keeps what it has read of a job for a moment, whatever version the log names.
 */

const keptMs = 300

await runService({
  parts: {
    createChangeFeed: needs => {
      const { changes, readStatus } = needs
      const follow: typeof changes.follow = async from => {
        const follower = await changes.follow(from)
        let newest = follower.cursor()
        return {
          ...follower,
          next: async limit => {
            const page = await follower.next(limit)
            await delay(5)
            newest = (await changes.follow()).cursor()
            return page
          },
          cursor: () => newest
        }
      }
      const known = new Map<string, { entry: ReturnType<typeof readStatus>, at: number }>()
      return createChangeFeed({
        ...needs,
        changes: { ...changes, follow },
        readStatus: (jobId, floor) => {
          const found = known.get(jobId)
          if (found !== undefined && found.at + keptMs > Date.now()) return found.entry
          const entry = readStatus(jobId, floor)
          known.set(jobId, { entry, at: Date.now() })
          return entry
        }
      })
    }
  }
})
