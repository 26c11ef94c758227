import { Component, html } from '../libraries.ts'
import { columns } from '../state/table/columns.ts'
import { type Age, ages, noFilters } from '../state/table/filters.ts'
import { type State, states } from '../state/job.ts'
import { rowsMax } from '../state/table/job-list.ts'
import { JobTable } from './table.ts'
import type { Ui } from './ui.ts'

const ageTexts: Record<Age, string> =
  { '5m': 'the last 5 minutes', '1h': 'the last hour', '1d': 'the last day', '7d': 'the last 7 days' }

const valueOf = (event: Event): string => (event.currentTarget as HTMLInputElement).value.trim()

type TextFilterProps = { name: string, type?: string, list?: string, size: number, value: string, onCommit: (text: string) => void }

/** A field that keeps what is being typed through every repaint, and gives it on when it is finished. */
class TextFilter extends Component<TextFilterProps> {
  draft: string | null = null

  override render () {
    const { name, type = 'text', list, size, value, onCommit } = this.props
    const edit = (event: Event): void => { this.draft = (event.currentTarget as HTMLInputElement).value }
    const commit = (event: Event): void => {
      this.draft = null
      onCommit(valueOf(event))
    }
    return html`<input name=${name} type=${type} list=${list} size=${size} value=${this.draft ?? value} autocomplete="off"
      spellcheck=${false} onInput=${edit} onChange=${commit} />`
  }
}

const StateFilter = ({ ui }: { ui: Ui }) => {
  const { states: chosen } = ui.jobsPage.filters()
  const toggle = (state: State) => () => {
    ui.filter({ states: states.filter(name => name === state ? !chosen.includes(name) : chosen.includes(name)) })
  }
  return html`<fieldset class="states">
    <legend>State</legend>
    ${states.map(state => html`<label class="chip" data-state=${state}>
      <input type="checkbox" checked=${chosen.includes(state)} onChange=${toggle(state)} />${state}
    </label>`)}
  </fieldset>`
}

const ColumnMenu = ({ ui }: { ui: Ui }) => html`<details class="menu">
  <summary>Columns</summary>
  <div class="panel">
    ${columns.filter(column => column !== 'id').map(column => html`<label>
      <input type="checkbox" checked=${ui.columns().includes(column)} onChange=${() => { ui.toggleColumn(column) }} />${column}
    </label>`)}
  </div>
</details>`

const FilterBar = ({ ui }: { ui: Ui }) => {
  const { type, age, idPrefix } = ui.jobsPage.filters()
  return html`<form class="filters" role="search" aria-label="Filter the jobs" onSubmit=${(event: Event) => { event.preventDefault() }}>
    <${StateFilter} ui=${ui} />
    <label>Type
      <${TextFilter} name="type" list="types" size=${12} value=${type} onCommit=${(text: string) => { ui.filter({ type: text }) }} />
    </label>
    <datalist id="types">${ui.jobsPage.types().map(name => html`<option value=${name} />`)}</datalist>
    <label>Accepted in
      <select name="age" onChange=${(event: Event) => { ui.filter({ age: (valueOf(event) || null) as Age | null }) }}>
        <option value="" selected=${age === null}>any time</option>
        ${Object.keys(ages).map(name => html`<option value=${name} selected=${age === name}>${ageTexts[name as Age]}</option>`)}
      </select>
    </label>
    <label>Id begins with
      <${TextFilter} name="id" type="search" size=${16} value=${idPrefix}
        onCommit=${(text: string) => { ui.filter({ idPrefix: text }) }} />
    </label>
    <button type="button" onClick=${() => { ui.filter(noFilters) }}>Clear</button>
    <${ColumnMenu} ui=${ui} />
  </form>`
}

const Summary = ({ ui }: { ui: Ui }) => {
  const { jobsPage, jobsPage: { list } } = ui
  const count = list.rows().length
  const failure = jobsPage.error()
  const changed = jobsPage.held()
  return html`<div class="summary">
    <span>${count.toLocaleString('en')} ${count === 1 ? 'job' : 'jobs'}${list.nextCursor() === null ? '' : ', more below'}</span>
    ${list.isCut() && html`<span>the newest that match; narrow the filters to see older ones</span>`}
    ${jobsPage.isLoading() && html`<span>loading …</span>`}
    ${failure !== null && failure.status !== 401 && html`<span class="problem" role="alert">${failure.message}</span>`}
    <button type="button" aria-pressed=${changed !== null} onClick=${() => { jobsPage.toggleHold() }}>
      ${changed === null ? 'Hold' : `Held: ${changed > rowsMax ? `over ${rowsMax}` : changed} changed`}
    </button>
  </div>`
}

/** The table of the jobs with its filters. */
export const JobsView = ({ ui }: { ui: Ui }) => html`<section class="jobs" aria-label="Jobs">
  <${FilterBar} ui=${ui} />
  <${Summary} ui=${ui} />
  <${JobTable} ui=${ui} />
</section>`
