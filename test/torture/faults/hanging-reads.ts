import { runService } from '../../../src/serve/run-service.ts'
import { createCoherence } from '../../../src/status/coherence.ts'

/*
 * A service that never answers one read in a hundred.
 */

let reads = 0

await runService({
  parts: {
    createCoherence: needs => {
      const { readStatus, ...others } = createCoherence(needs)
      return { ...others, readStatus: (...args) => ++reads % 100 === 0 ? new Promise(() => {}) : readStatus(...args) }
    }
  }
})
