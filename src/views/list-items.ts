import { shorten, truncatedDetails } from '../job/recorded/texts.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { JobStatus, TaskData } from './schemas.ts'

/*
 * Jobs as items of a list: the ready-made bodies, without what would make a page large. A list has no inline results,
 * and of a long failure only the beginning of its message.
 */

/** The longest body of a failed job that a list shows as it is, in characters. */
const itemLengthMax = 4096
const messageLengthMax = 1000

type Failure = JobStatus['errorDetails']

const shortenFailure = (failure: Failure): Failure => {
  if (failure === null) return null
  const { code, message, details } = failure
  const texts = { code, message: shorten(message, messageLengthMax) }
  return details === undefined ? texts : { ...texts, details: truncatedDetails }
}

const isLong = ({ state }: StatusEntry, item: string): boolean =>
  (state === 'failed' || state === 'cancelled') && item.length > itemLengthMax

const toV1Item = (entry: StatusEntry): string => {
  if (!isLong(entry, entry.v1Body)) return entry.v1Body
  const status = JSON.parse(entry.v1Body) as JobStatus
  return JSON.stringify({ ...status, errorDetails: shortenFailure(status.errorDetails) })
}

const envelopeBegin = '{"success":true,"data":'
const resultBegin = ',"result":'

const toTaskItem = (entry: StatusEntry): string => {
  const item = entry.taskBody.slice(envelopeBegin.length, -1)
  // The failure of a succeeded job is null, so the first member of this name is the field: in a text, quotes are escaped.
  if (entry.state === 'succeeded') return `${item.slice(0, item.indexOf(resultBegin))}${resultBegin}null}`
  if (!isLong(entry, item)) return item
  const data = JSON.parse(item) as TaskData
  return JSON.stringify({ ...data, failure: shortenFailure(data.failure) })
}

/** The JSON text of a visible entry as an item of a list, by the name of the view. */
export const listItems = { v1: toV1Item, task: toTaskItem } as const
