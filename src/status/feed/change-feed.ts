import { setImmediate as nextTurn } from 'node:timers/promises'
import { CursorMalformed } from '../../errors.ts'
import type { Schedule } from '../../schedule.ts'
import type { ChangeLog, Cursor } from '../../store/change-log.ts'
import { createFeedPages, type FeedPage, type FeedPages, type FeedPagesNeeds } from './feed-pages.ts'

/*
 * The changes of all jobs, for any number of readers. Each reads the log from its own place; what they read is shared
 * (feed-pages.ts). The relay wakes those that wait at the end of the log; a check every few seconds wakes them too, if
 * the log has grown, so that a wake-up that was lost is only late.
 */

/** A reader of the feed. */
export type FeedReader = {
  /**
   * Reads the page after the reader's place and moves on to its end. Each item is at least as new as what was revealed
   * before the reader was created, and as those before it. Throws CURSOR_EXPIRED and STORE_UNAVAILABLE, and then stays
   * where it is.
   */
  next: () => Promise<FeedPage>
  /** Resolves once there may be changes that the last page did not have, or with the end of its wait. */
  awaitChanges: () => Promise<void>
  /** The place that it has come to. */
  cursor: () => Cursor
  close: () => void
}

export type ChangeFeed = {
  /**
   * A reader from this place on, or from after the newest change; it waits no longer than until `ended` resolves.
   * null: this database cannot have issued the cursor.
   */
  open: (from: Cursor | undefined, ended: Promise<unknown>) => Promise<FeedReader | null>
  /** The log has new changes, by this process or others. */
  onChanges: () => void
  /** Wakes the readers if the log has changes that it had not at the last check. Throws STORE_UNAVAILABLE. */
  recheck: () => Promise<void>
  /** Whether anybody reads. */
  isInUse: () => boolean
}

export type ChangeFeedNeeds = Omit<FeedPagesNeeds, 'changes'> & {
  changes: ChangeLog
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  schedule: Schedule
}

/*
 * To wake a reader and send it a page costs some 18 µs, whether one change has come or twenty. With many readers they are
 * woken less often: a thousand at most every 25 ms. Until the relay has found a change takes 10 ms, and until the last of
 * a thousand has it 18 ms, so that it is noticed within 50.
 */
const msPerReader = 0.025
const pauseMsMax = 25
// Between so many readers, the event loop gets a turn.
const wokenAtOnce = 50

const createWaits = (
  count: FeedPages['count'], { monotonicNow, schedule }: Pick<ChangeFeedNeeds, 'monotonicNow' | 'schedule'>
) => {
  const waiting = new Set<() => void>()
  let readers = 0
  let lastWake = 0
  let wokenAt = -Infinity
  let isDue = false

  const wakeAll = async (): Promise<void> => {
    isDue = false
    lastWake = count()
    wokenAt = monotonicNow()
    const woken = [...waiting]
    waiting.clear()
    for (const [index, resume] of woken.entries()) {
      if (index > 0 && index % wokenAtOnce === 0) await nextTurn()
      resume()
    }
  }

  return {
    isInUse: () => readers > 0,
    enter: () => { readers += 1 },
    leave: () => { readers -= 1 },
    /** The count at which the readers were woken last. */
    lastWake: () => lastWake,
    onChanges: () => {
      if (readers === 0 || isDue) return
      isDue = true
      const dueAt = wokenAt + Math.min(pauseMsMax, readers * msPerReader)
      schedule(() => { void wakeAll() }, Math.max(0, dueAt - monotonicNow()))
    },
    wakeAll,
    waiting
  }
}

export const createChangeFeed = (needs: ChangeFeedNeeds): ChangeFeed => {
  const { changes } = needs
  const pages = createFeedPages(needs)
  const waits = createWaits(pages.count, needs)
  let checked: Cursor | null = null

  const createReader = (from: Cursor, ended: Promise<unknown>): FeedReader => {
    let cursor = from
    let since = pages.count()
    let seen = 0
    let [isOpen, isOver] = [true, false]
    let resume = () => {}
    // Once for all its waits: each reaction to the promise stays until it resolves.
    void ended.then(() => {
      isOver = true
      waits.waiting.delete(resume)
      resume()
    })
    waits.enter()
    return {
      next: async () => {
        seen = waits.lastWake()
        // A page whose reading began before the reader was woken may lack what it was woken for.
        const page = await pages.read(cursor, Math.max(since, seen))
        since = page.ended
        cursor = page.cursor
        return page
      },
      awaitChanges: () => new Promise(resolve => {
        if (isOver || waits.lastWake() !== seen) return resolve()
        resume = resolve
        waits.waiting.add(resume)
      }),
      cursor: () => cursor,
      close: () => {
        if (isOpen) waits.leave()
        isOpen = false
      }
    }
  }

  return {
    open: async (from, ended) => {
      try {
        const follower = await changes.follow(from)
        return createReader(follower.cursor(), ended)
      } catch (error) {
        if (error instanceof CursorMalformed) return null
        throw error
      }
    },
    onChanges: waits.onChanges,
    recheck: async () => {
      if (!waits.isInUse()) return
      const newest = (await changes.follow()).cursor()
      if (newest === checked) return
      checked = newest
      await waits.wakeAll()
    },
    isInUse: waits.isInUse
  }
}
