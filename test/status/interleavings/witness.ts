import type { StatusEntry } from '../../../src/job/status-entry.ts'

/** What was revealed of each job, and what was wrong about it: every answer is held against what had been revealed when its request started. */
export const createWitness = (versionOf: (jobId: string) => number) => {
  const revealed = new Map<string, number>()
  const wrongs: string[] = []
  const refuted = new Set<string>()
  const revealedOf = (jobId: string) => revealed.get(jobId) ?? 0
  const reveal = (jobId: string, version: number) => {
    if (version > versionOf(jobId)) wrongs.push(`${jobId}: v${version} was never committed`)
    revealed.set(jobId, Math.max(revealedOf(jobId), version))
  }
  return {
    wrongs,
    revealedOf,
    reveal,
    /** A request starts; call what it returns with what it got. */
    begin: (who: string, jobId: string, floor = 0) => {
      const atLeast = revealedOf(jobId)
      const isTrueFloor = floor <= versionOf(jobId)
      return (entry: StatusEntry) => {
        const { version, state } = entry
        if (entry.jobId !== jobId) wrongs.push(`${who}: asked for ${jobId}, got ${entry.jobId}`)
        if (version < atLeast) {
          wrongs.push(`${who}: ${jobId} v${atLeast} was revealed before it started, and it got v${version}`)
        }
        if (state !== 'absent' && version < floor) {
          const claim = `${jobId} ${version} ${floor}`
          // A floor is asked about once for an entry, so that a forged one costs little.
          if (isTrueFloor && !refuted.has(claim)) {
            wrongs.push(`${who}: ${jobId} with floor ${floor}, and it got v${version}`)
          }
          refuted.add(claim)
        }
        reveal(jobId, version)
      }
    }
  }
}

export type Witness = ReturnType<typeof createWitness>
