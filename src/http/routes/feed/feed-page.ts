import { setImmediate as nextTurn } from 'node:timers/promises'
import type { StatusEntry } from '../../../job/status-entry.ts'
import { typeOfEntry } from '../../../views/entry-type.ts'
import { listItems } from '../../../views/list-items.ts'
import type { FeedReader } from '../../../status/feed/change-feed.ts'
import type { FeedItem } from '../../../status/feed/feed-items.ts'
import type { FeedPage } from '../../../status/feed/feed-pages.ts'
import type { ViewName } from '../../paths.ts'

/** What a client asks of the feed. `tenant` null: it may read the jobs of all tenants. `type` undefined: of any type. */
export type FeedFilter = { tenant: string | null, type: string | undefined }

/** The items of a page for a client. A job that is gone has no type any more, so it passes every filter. */
export const selectItems = (page: FeedPage, { tenant, type }: FeedFilter): readonly FeedItem[] => {
  const items = page.itemsOf(tenant)
  return type === undefined ? items : items.filter(({ entry }) => entry === null || typeOfEntry(entry) === type)
}

/** An item as JSON text; the job as in a list. */
export const toItemText = (view: ViewName, { cursor, jobId, version, entry }: FeedItem): string => {
  const job = entry === null ? 'null' : listItems[view](entry)
  return `{"cursor":"${cursor}","jobId":"${jobId}","version":${version},"job":${job}}`
}

/** A page of the JSON form: the texts of its items. `hasMore`: there may be more behind it already. */
export type CollectedPage = { items: string[], cursor: string, hasMore: boolean }

/** So many changes one request examines. A page that finds less than it may have by then ends early, or is empty. */
const examinedMax = 10_000
/** The largest page, without its envelope. It has at least one item if there is one. */
const pageBytesMax = 1024 * 1024 - 1024

/** The pages of one request. Collect again after a wait, if nothing was found and the request is not exhausted. */
export type Collect = { collect: () => Promise<CollectedPage>, isExhausted: () => boolean }

/** `onShown` is called with each job of a page. */
export type CollectNeeds = {
  reader: FeedReader, view: ViewName, filter: FeedFilter, limit: number, onShown: (entry: StatusEntry) => void
}

export const createCollect = ({ reader, view, filter, limit, onShown }: CollectNeeds): Collect => {
  let examined = 0
  const collect = async (): Promise<CollectedPage> => {
    const items: string[] = []
    let bytes = 0
    let cursor = reader.cursor()
    while (examined < examinedMax) {
      const page = await reader.next()
      examined += page.examined
      for (const item of selectItems(page, filter)) {
        const text = toItemText(view, item)
        bytes += Buffer.byteLength(text) + 1
        if (items.length === limit || (items.length > 0 && bytes > pageBytesMax)) return { items, cursor, hasMore: true }
        items.push(text)
        if (item.entry !== null) onShown(item.entry)
        cursor = item.cursor
      }
      cursor = page.cursor
      if (page.isLast || items.length === limit) return { items, cursor, hasMore: !page.isLast }
      await nextTurn()
    }
    return { items, cursor, hasMore: true }
  }
  return { collect, isExhausted: () => examined >= examinedMax }
}
