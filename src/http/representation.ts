import type { StatusEntry } from '../job/status-entry.ts'
import { toETag } from './headers/conditional.ts'
import { toLink, type ViewName } from './paths.ts'

/** One job in one view (RFC 9110, 3.2): the entry with its ready-made body, and its `ETag` and `Link` headers. */
export type Representation = Readonly<{ view: ViewName, entry: StatusEntry, eTag: string, link: string }>

export type RepresentationNeeds = {
  incarnation: string
  /** The number of the current body format; part of every ETag. */
  representation: number
  publicUrl: string | null
}

/** Makes representations, each once per entry: one entry answers many polls. */
export const createRepresent = ({ incarnation, representation: format, publicUrl }: RepresentationNeeds) => {
  const made = { v1: new WeakMap<StatusEntry, Representation>(), task: new WeakMap<StatusEntry, Representation>() }

  return (view: ViewName, entry: StatusEntry): Representation => {
    const earlier = made[view].get(entry)
    if (earlier !== undefined) return earlier
    const eTag = toETag(incarnation, entry.version, format)
    const representation = Object.freeze({ view, entry, eTag, link: toLink(publicUrl ?? '', view, entry) })
    made[view].set(entry, representation)
    return representation
  }
}
