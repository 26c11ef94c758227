import { isUnavailable } from '../../../errors.ts'
import type { StatusEntry } from '../../../job/status-entry.ts'
import type { FeedReader } from '../../../status/feed/change-feed.ts'
import type { FeedPage } from '../../../status/feed/feed-pages.ts'
import { type EventStream, toEventText } from '../../event-stream.ts'
import type { ViewName } from '../../paths.ts'
import { type FeedFilter, selectItems, toItemText } from './feed-page.ts'

/** The events of a page for a client, as they are sent. */
export type ToEvents = (page: FeedPage, view: ViewName, filter: FeedFilter) => string

/**
 * Makes the text of a page once for all clients that may read the same jobs and ask for the same. `onShown` is called
 * once for each job in it.
 */
export const createToEvents = (onShown: (entry: StatusEntry) => void): ToEvents => {
  const texts = new WeakMap<FeedPage, Map<string, string>>()
  return (page, view, filter) => {
    const ofPage = texts.get(page) ?? new Map<string, string>()
    texts.set(page, ofPage)
    const key = JSON.stringify([view, filter.tenant, filter.type])
    const known = ofPage.get(key)
    if (known !== undefined) return known
    const text = selectItems(page, filter).map(item => {
      if (item.entry !== null) onShown(item.entry)
      const event = item.entry === null ? 'gone' : 'status'
      return toEventText({ event, id: item.cursor, data: toItemText(view, item) })
    }).join('')
    ofPage.set(key, text)
    return text
  }
}

export type FeedStreamNeeds = {
  reader: FeedReader
  toText: (page: FeedPage) => string
  /** Calls back after some ms unless cancelled. */
  schedule: (work: () => void, ms: number) => { cancel: () => void }
  /** The stream ends for another reason than its client, its token or the process. */
  onFailure: (error: unknown) => void
}

// The log can be read again some time after the store could not be reached.
const retryMs = 1000

/**
 * The pages of a reader as events. `place` is the cursor after what was sent. A slow client is sent no page before it has
 * taken most of the last one, so that its backlog is a page at most.
 */
export const createFeedStream = ({ reader, toText, schedule, onFailure }: FeedStreamNeeds) => {
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
      const text = toText(page)
      if (text !== '') stream.send(text)
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
