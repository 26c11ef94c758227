import { toIso } from '../../job/time.ts'
import type { Tx } from '../store.ts'

/** Records what was removed from the input of a job, by kind. `at` in ms since 1970. */
export const insertSanitizationEvents = async (
  tx: Tx, jobId: string, counts: Readonly<Record<string, number>>, at: number
): Promise<void> => {
  const rows = Object.entries(counts).filter(([, count]) => count > 0).map(([kind, count]) => ({
    jobId, kind, count, at: toIso(at)
  }))
  if (rows.length > 0) await tx.insertInto('SanitizationEvent').values(rows).execute()
}
