import type { DownloadState, Source } from '../state/job/downloads.ts'
import type { Column } from '../state/table/columns.ts'
import type { Filters, Place } from '../state/table/filters.ts'
import type { JobPage } from '../state/job/job-page.ts'
import type { JobsPage } from '../state/table/jobs-page.ts'
import type { Content } from '../state/job/preview.ts'
import type { ServicePage } from '../state/service/service-page.ts'
import type { Session } from '../state/session.ts'

/** A question before something that cannot be undone. */
export type Question = { text: string, answer: string, onYes: () => void }

/** What the views show and call. */
export type Ui = {
  /** The whole address of a path of the API. */
  addressOf: (path: string) => string
  session: Session
  jobsPage: JobsPage
  jobPage: JobPage
  servicePage: ServicePage
  place: () => Place
  /** Forgets the token, and what was shown with it. */
  leave: () => void
  /** Of the service, in ms since 1970. */
  now: () => number
  tokenCommand: string | null
  columns: () => readonly Column[]
  toggleColumn: (column: Column) => void
  go: (place: Place) => void
  /** Changes the filters of the table, in its address too. */
  filter: (change: Partial<Filters>) => void
  question: () => Question | null
  ask: (question: Question | null) => void
  downloadOf: (source: Source) => DownloadState | null
  download: (source: Source, content: Content) => void
  /** Shows what has changed, with the next frame. */
  repaint: () => void
}
