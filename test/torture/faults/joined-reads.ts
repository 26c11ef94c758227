import { runService } from '../../../src/serve/run-service.ts'
import { createCoherence } from '../../../src/status/coherence.ts'
import { joinRunning } from '../../status/join-running.ts'

/*
 * A service whose readers join a read of the store that is under way.
 */

await runService({
  parts: { createCoherence: needs => createCoherence({ ...needs, createSingleFlight: joinRunning }) }
})
