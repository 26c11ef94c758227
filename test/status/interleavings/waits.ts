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

type WaitsNeeds = Pick<Witness, 'begin' | 'reveal' | 'wrongs'> & {
  versionOf: (jobId: string) => number, onEvent: (event: string) => void
}

export const createWaits = ({ begin, reveal, wrongs, versionOf, onEvent }: WaitsNeeds) => {
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

  /** As a stream of events does: the newest entry there is once the first read is over, then each newer one. */
  const receiveEvents = async (
    { watch }: WaitingNode, who: string, jobId: string, floor: number, onVersion: (version: number) => void
  ) => {
    const end = begin(who, jobId, floor)
    let last = floor
    let pending: StatusEntry | null = null
    let isOpen = false
    const take = (entry: StatusEntry) => {
      onEvent('event')
      if (entry.version <= last) wrongs.push(`${who}: ${jobId} v${entry.version} is not newer than v${last}, which it got before`)
      last = entry.version
      reveal(jobId, last)
      onVersion(last)
    }
    const { entry, unfollow } = await watch.follow(jobId, floor, newer => {
      if (isOpen) take(newer)
      else pending = newer
    })
    // The response is a 404, whatever comes: there is no stream.
    if (entry.state === 'absent') {
      end(entry)
      return unfollow()
    }
    // A version that nobody was shown can be claimed by mistake, and refuted once for all.
    last = Math.min(floor, entry.version)
    const first: StatusEntry = pending ?? entry
    end(first)
    isOpen = true
    onVersion(first.version)
    if (first.version > last) take(first)
    await ended
    unfollow()
  }

  return {
    /** Follows the events of a job until all clients are to leave. The floor is the version that it had before. */
    follow: async (node: WaitingNode, who: string, jobId: string, floor: number): Promise<void> => {
      let last = floor
      const wait: Wait = { who, isDue: () => versionOf(jobId) > last, isOver: false }
      waits.push(wait)
      try {
        await receiveEvents(node, who, jobId, floor, version => { last = Math.max(last, version) })
      } finally {
        wait.isOver = true
      }
    },
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
