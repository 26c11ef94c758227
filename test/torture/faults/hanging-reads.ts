import { replaceModule } from './replace.ts'

/*
 * A service that never answers one read in a hundred.
 */

const { href } = new URL('../../../src/status/read-status.ts?original', import.meta.url)

replaceModule('status/read-status.ts', 'data:text/javascript,' + encodeURIComponent(`
  import * as original from '${href}'
  let reads = 0
  export const createReadStatus = needs => {
    const { readStatus, readMany } = original.createReadStatus(needs)
    return { readStatus: (...given) => ++reads % 100 === 0 ? new Promise(() => {}) : readStatus(...given), readMany }
  }`))
