import { Component, html } from '../libraries.ts'
import type { Column } from '../state/table/columns.ts'
import { toFragment } from '../state/table/filters.ts'
import { toAge, toSpan, toTime, toVisible } from '../state/format.ts'
import type { Job } from '../state/job.ts'
import { ProgressBar } from './progress.ts'
import type { Ui } from './ui.ts'

/** The height of a row in CSS pixels, as in page.css. */
const rowHeight = 32
// Rows above and below the visible ones, so that scrolling shows no gap before the next frame.
const spareRows = 8

const names: Record<Column, string> = {
  state: 'State', type: 'Type', id: 'Id', progress: 'Progress', age: 'Age', duration: 'Duration', attempt: 'Attempt'
}

const durationOf = ({ startedAt, finishedAt, status }: Job, now: number): number | null => {
  if (startedAt === null || status === 'queued') return null
  return (finishedAt === null ? now : Date.parse(finishedAt)) - Date.parse(startedAt)
}

const cells: Record<Column, (job: Job, now: number) => unknown> = {
  state: ({ status, cancelRequested }) =>
    html`<span class="state" data-state=${status}>${status}${status === 'running' && cancelRequested ? ', cancelling' : ''}</span>`,
  type: ({ type }) => type ?? '–',
  id: ({ taskId }) => html`<a href=${toFragment({ view: 'job', jobId: taskId })} tabindex="-1">${toVisible(taskId)}</a>`,
  progress: job => html`<${ProgressBar} job=${job} />`,
  age: ({ createdAt }, now) => html`<span title=${toTime(createdAt)}>${toAge(now - Date.parse(createdAt))}</span>`,
  duration: (job, now) => toSpan(durationOf(job, now)),
  attempt: ({ attempt }) => attempt
}

type RowProps = { job: Job, index: number, isSelected: boolean, columns: readonly Column[], now: number }

/** Rendered again only where its job has changed, or its times can have. */
class Row extends Component<RowProps> {
  override shouldComponentUpdate (next: RowProps): boolean {
    const { job, index, isSelected, columns, now } = this.props
    return job !== next.job || index !== next.index || isSelected !== next.isSelected || columns !== next.columns ||
      Math.floor(now / 1000) !== Math.floor(next.now / 1000)
  }

  override render ({ job, index, isSelected, columns, now }: RowProps) {
    return html`<div role="row" class="row" id="row-${index}" data-id=${job.taskId} aria-rowindex=${index + 2} aria-selected=${isSelected}>
      ${columns.map(column => html`<div role="gridcell" class="cell ${column}">${cells[column](job, now)}</div>`)}
    </div>`
  }
}

type TableProps = { ui: Ui }

/**
 * The rows that can be seen, of a list that may be much longer. The selection is a job, not a place: it stays with its
 * job while others arrive above.
 */
export class JobTable extends Component<TableProps> {
  element: HTMLElement | null = null
  first = 0
  visible = 30
  /** The uppermost visible job, which stays where it is. */
  anchor: { jobId: string, index: number } | null = null
  observer: ResizeObserver | null = null

  override componentDidMount (): void {
    const { element, props: { ui } } = this
    if (element === null) return
    this.observer = new ResizeObserver(() => {
      this.measure()
      ui.repaint()
    })
    this.observer.observe(element)
    this.reveal()
    element.focus({ preventScroll: true })
  }

  override componentWillUnmount (): void { this.observer?.disconnect() }

  measure (): void {
    const { element, props: { ui: { jobsPage } } } = this
    if (element === null) return
    this.visible = Math.ceil(element.clientHeight / rowHeight)
    this.first = Math.max(0, Math.floor(element.scrollTop / rowHeight))
    const job = jobsPage.list.rows()[this.first]
    this.anchor = element.scrollTop < rowHeight || job === undefined ? null : { jobId: job.taskId, index: this.first }
    if (this.first + 2 * this.visible > jobsPage.list.rows().length) jobsPage.loadMore()
  }

  /** Keeps what is read in its place when rows are added above it. */
  override componentDidUpdate (): void {
    const { element, anchor, props: { ui: { jobsPage } } } = this
    if (element === null || anchor === null) return
    const index = jobsPage.list.indexOf(anchor.jobId)
    if (index >= 0 && index !== anchor.index) element.scrollTop += (index - anchor.index) * rowHeight
    this.measure()
  }

  /** Scrolls to the selected job. */
  reveal (): void {
    const { element, props: { ui: { jobsPage } } } = this
    const index = jobsPage.list.indexOf(jobsPage.selectedId() ?? '')
    if (element === null || index < 0) return
    const header = rowHeight
    const [top, bottom] = [index * rowHeight, (index + 1) * rowHeight]
    if (top < element.scrollTop) element.scrollTop = top
    else if (bottom + header > element.scrollTop + element.clientHeight) element.scrollTop = bottom + header - element.clientHeight
    this.measure()
  }

  readonly onKey = (event: KeyboardEvent): void => {
    const { ui: { jobsPage, go } } = this.props
    const rows = jobsPage.list.rows()
    const selectedId = jobsPage.selectedId()
    const index = jobsPage.list.indexOf(selectedId ?? '')
    if (event.key === 'Enter' && selectedId !== null && index >= 0) return go({ view: 'job', jobId: selectedId })
    const page = Math.max(1, this.visible - 2)
    const target = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: rows.length - 1 }[event.key]
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    const job = rows[Math.min(rows.length - 1, Math.max(0, target))]
    if (job === undefined) return
    jobsPage.select(job.taskId)
    this.reveal()
  }

  readonly onClick = (event: MouseEvent): void => {
    const { ui: { jobsPage, go } } = this.props
    const target = event.target as Element
    const jobId = target.closest<HTMLElement>('[data-id]')?.dataset.id
    if (jobId === undefined) return
    jobsPage.select(jobId)
    // A link opens by itself, in another tab if the user wants so.
    if (target.closest('a') === null) go({ view: 'job', jobId })
  }

  override render ({ ui }: TableProps) {
    const { jobsPage, columns: shownColumns, now } = ui
    const rows = jobsPage.list.rows()
    const columns = shownColumns()
    const selectedId = jobsPage.selectedId()
    const selected = jobsPage.list.indexOf(selectedId ?? '')
    const first = Math.max(0, Math.min(this.first - spareRows, rows.length - this.visible))
    const last = Math.min(rows.length, this.first + this.visible + spareRows)
    const setElement = (element: HTMLElement | null): void => { this.element = element }
    const onScroll = (): void => {
      this.measure()
      ui.repaint()
    }
    const isDrawn = selected >= first && selected < last
    return html`<div class="grid" role="grid" aria-label="Jobs, newest first" tabindex="0" ref=${setElement}
      aria-rowcount=${jobsPage.list.nextCursor() === null ? rows.length + 1 : -1}
      aria-activedescendant=${isDrawn ? `row-${selected}` : undefined}
      onScroll=${onScroll} onKeyDown=${this.onKey} onClick=${this.onClick}>
      <div role="rowgroup" class="head"><div role="row" class="row" aria-rowindex="1">
        ${columns.map(column => html`<div role="columnheader" class="cell ${column}">${names[column]}</div>`)}
      </div></div>
      <div role="rowgroup" class="body" style=${{ height: `${rows.length * rowHeight}px` }}>
        <div role="presentation" class="window" style=${{ transform: `translateY(${first * rowHeight}px)` }}>
          ${rows.slice(first, last).map((job, index) => html`<${Row} job=${job} index=${first + index}
            isSelected=${first + index === selected} columns=${columns} now=${now()} />`)}
        </div>
      </div>
    </div>
    ${rows.length === 0 && !jobsPage.isLoading() && ui.session.problem() === null && html`<p class="empty">No job matches.</p>`}`
  }
}
