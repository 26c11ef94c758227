import { runService } from '../../../src/serve/run-service.ts'
import { createCoherence } from '../../../src/status/coherence.ts'
import { createChangeFeed } from '../../../src/status/feed/change-feed.ts'

/*
 * A service that breaks three rules of waiting. Streams leave out what comes soon after what they have sent, and do
 * not come back to it. Whoever names the version it has is answered with that version, as are submissions, which name
 * the one that they have made. Changes wake no reader of the feed: they are left to the check every few seconds.
 */

const pauseMs = 100

await runService({
  parts: {
    createCoherence: needs => {
      const { watch, ...others } = createCoherence(needs)
      return {
        ...others,
        watch: {
          ...watch,
          follow: (jobId, floor, onEntry) => {
            let sentAt = -Infinity
            return watch.follow(jobId, floor, entry => {
              if (sentAt + pauseMs > Date.now()) return
              sentAt = Date.now()
              onEntry(entry)
            })
          },
          awaitEntry: (jobId, floor, isAwaited, ended) =>
            watch.awaitEntry(jobId, floor, entry => isAwaited(entry) || (floor > 0 && entry.version >= floor), ended)
        }
      }
    },
    createChangeFeed: needs => ({ ...createChangeFeed(needs), onChanges: () => {} })
  }
})
