import type { StatusEntry } from '../../../src/job/status-entry.ts'
import type { StatusCache } from '../../../src/cache/status-cache.ts'

export type SavedCell = { epoch: string, jobId: string } & ({ token: string } | { entry: StatusEntry })

const noToken = 'no-token'

/** All the cells as they are, without leaving a trace. */
export const copyCells = async (
  cache: StatusCache, epochs: Iterable<string>, jobIds: readonly string[]
): Promise<SavedCell[]> => {
  const cells: SavedCell[] = []
  for (const epoch of epochs) {
    for (const jobId of jobIds) {
      const leased = await cache.lease(epoch, jobId, noToken)
      if (leased.kind === 'hit') cells.push({ epoch, jobId, entry: leased.entry })
      else if (leased.token !== noToken) cells.push({ epoch, jobId, token: leased.token })
      else await cache.invalidate(epoch, jobId, Infinity)
    }
  }
  return cells
}

export const putCells = async (cache: StatusCache, cells: readonly SavedCell[]) => {
  await cache.close()
  for (const cell of cells) {
    const token = 'token' in cell ? cell.token : noToken
    await cache.lease(cell.epoch, cell.jobId, token)
    if ('entry' in cell) await cache.expose(cell.epoch, cell.entry, token)
  }
}
