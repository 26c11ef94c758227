import { runService } from '../../src/serve/run-service.ts'
import { openStore } from '../../src/store/open/open-store.ts'

/** A service on a machine whose clock is ahead of the others by CLOCK_AHEAD_MS. */
const aheadMs = Number(process.env.CLOCK_AHEAD_MS)

await runService({
  parts: { openStore: needs => openStore({ ...needs, now: () => needs.now() + aheadMs }) }
})
