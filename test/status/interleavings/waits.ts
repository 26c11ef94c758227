import type { StatusEntry } from '../../../src/job/status-entry.ts'
import type { JobWatch } from '../../../src/status/await-change.ts'
import type { ReadStatus } from '../../../src/status/read-status.ts'
import type { Witness } from './witness.ts'

/*
 * Clients that wait for changes, and who of them should have been answered.
 */

type WaitingNode = { watch: JobWatch, readStatus: ReadStatus }

/** `isDue`: what it waits for is there. */
type Wait = { who: string, isDue: () => boolean, isOver: boolean }

type WaitsNeeds = Pick<Witness, 'begin' | 'wrongs'> & {
  versionOf: (jobId: string) => number, onEvent: (event: string) => void
}

export const createWaits = ({ begin, wrongs, versionOf, onEvent }: WaitsNeeds) => {
  const waits: Wait[] = []
  const { promise: ended, resolve: endAll } = Promise.withResolvers<void>()
  let isEnded = false
  const findDue = () => waits.filter(({ isDue, isOver }) => !isOver && (isEnded || isDue()))

  const waitFor = async (
    { watch, readStatus }: WaitingNode, jobId: string, floor: number, end: (entry: StatusEntry) => void, aim: number
  ) => {
    // As a long poll does: any version other than the one that the client has, or one that is the end.
    const isAwaited = ({ version }: StatusEntry) => floor > 0 ? version !== floor : version > aim
    const entry = await watch.awaitEntry(jobId, floor, isAwaited, ended)
    onEvent(entry === null ? 'waited in vain' : 'waited')
    end(entry ?? await readStatus(jobId, floor))
  }

  return {
    /**
     * Waits for a version other than the floor; where there is none, for one after the next. Resolves once answered.
     */
    longPoll: async (node: WaitingNode, who: string, jobId: string, floor: number): Promise<void> => {
      const aim = floor > 0 ? floor : versionOf(jobId) + 1
      const wait: Wait = { who, isDue: () => versionOf(jobId) > aim, isOver: false }
      waits.push(wait)
      try {
        await waitFor(node, jobId, floor, begin(who, jobId, floor), aim)
      } finally {
        wait.isOver = true
      }
    },
    isAny: () => waits.length > 0,
    isAnyDue: () => findDue().length > 0,
    /** Everything that is due should have been answered by now. */
    checkDue: (why: string) => {
      for (const { who } of findDue()) wrongs.push(`${who}: ${why}`)
    },
    endAll: () => {
      isEnded = true
      endAll()
    }
  }
}
