import { runService } from '../../../src/serve/run-service.ts'

/*
 * A service that brings no change by other programs to the cache.
 */

await runService({ parts: { createRelay: () => () => Promise.resolve(0) } })
