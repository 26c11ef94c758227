import { isUnavailable } from '../../../errors.ts'
import type { StatusEntry } from '../../../job/status-entry.ts'
import type { Schedule } from '../../../schedule.ts'
import type { FeedReader } from '../../../status/feed/change-feed.ts'
import type { FeedPage } from '../../../status/feed/feed-pages.ts'
import { type EventStream, toEventText } from '../../event-stream.ts'
import type { ViewName } from '../../paths.ts'
import { type FeedFilter, selectItems, toItemText } from './feed-page.ts'

/** The events of a page for a client, as bytes. */
export type ToEvents = (page: FeedPage) => Buffer

/**
 * Makes the events of a page once for all clients that may read the same jobs and ask for the same: as bytes, since Node
 * would turn a text into bytes for each of them. `onShown` is called once for each job in it.
 */
export const createToEvents = (
  onShown: (entry: StatusEntry) => void
): ((view: ViewName, filter: FeedFilter) => ToEvents) => {
  const made = new WeakMap<FeedPage, Map<string, Buffer>>()
  return (view, filter) => {
    const key = JSON.stringify([view, filter.tenant, filter.type])
    return page => {
      const ofPage = made.get(page) ?? new Map<string, Buffer>()
      const known = ofPage.get(key)
      if (known !== undefined) return known
      const events = Buffer.from(selectItems(page, filter).map(item => {
        if (item.entry !== null) onShown(item.entry)
        const event = item.entry === null ? 'gone' : 'status'
        return toEventText({ event, id: item.cursor, data: toItemText(view, item) })
      }).join(''))
      made.set(page, ofPage.set(key, events))
      return events
    }
  }
}

export type FeedStreamNeeds = {
  reader: FeedReader
  toEvents: ToEvents
  schedule: Schedule
  /** The stream ends for another reason than its client, its token or the process. */
  onFailure: (error: unknown) => void
}

// The log can be read again some time after the store could not be reached.
const retryMs = 1000

/**
 * The pages of a reader as events. `place` is the cursor after what was sent. A slow client is sent no page before it has
 * taken most of the last one, so that its backlog is a page at most.
 */
export const createFeedStream = ({ reader, toEvents, schedule, onFailure }: FeedStreamNeeds) => {
  let place = reader.cursor()
  let isOver = false
  let resume = (): void => {}

  const untilResumed = () => new Promise<void>(resolve => {
    resume = resolve
    if (isOver) resolve()
  })

  /** Returns null if the store cannot be read now. */
  const read = async (): Promise<FeedPage | null> => {
    try {
      return await reader.next()
    } catch (error) {
      if (!isUnavailable(error)) throw error
      const timer = schedule(() => { resume() }, retryMs)
      await untilResumed()
      timer.cancel()
      return null
    }
  }

  const pump = async (first: FeedPage, stream: EventStream): Promise<void> => {
    for (let page: FeedPage | null = first; !isOver; page = await read()) {
      if (page === null) continue
      const events = toEvents(page)
      if (events.length > 0) stream.send(events)
      place = page.cursor
      if (!stream.isReady()) await untilResumed()
      if (page.isLast && !isOver) await reader.awaitChanges()
    }
  }

  return {
    place: () => place,
    /** The client has taken what was sent. */
    onReady: () => { resume() },
    onEnd: () => {
      isOver = true
      resume()
      reader.close()
    },
    /** Sends what there is, and what comes, from the first page on. */
    run: (first: FeedPage, stream: EventStream): void => {
      pump(first, stream).catch((error: unknown) => {
        onFailure(error)
        stream.end()
      })
    }
  }
}
