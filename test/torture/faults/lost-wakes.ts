import { runService } from '../../../src/serve/run-service.ts'
import { createCoherence } from '../../../src/status/coherence.ts'

/*
 * A service in which changes by others wake nobody: whoever waits for one is left to the check every few seconds.
 */

await runService({
  parts: {
    createCoherence: needs => {
      const { watch, ...others } = createCoherence(needs)
      return { ...others, watch: { ...watch, onChanges: () => {} } }
    }
  }
})
