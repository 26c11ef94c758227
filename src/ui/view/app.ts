import { html } from '../libraries.ts'
import { toFragment } from '../state/table/filters.ts'
import { toSpan, toVisible } from '../state/format.ts'
import { JobView } from './job.ts'
import { JobsView } from './jobs.ts'
import { QuestionDialog, TokenDialog } from './dialogs.ts'
import { ServiceView } from './service.ts'
import type { Ui } from './ui.ts'

const TokenInfo = ({ ui }: { ui: Ui }) => {
  const { session, now } = ui
  const claims = session.claims()
  if (claims === null) return null
  const { subject, tenant, scopes, expiresAt } = claims
  const left = expiresAt - now()
  return html`<details class="menu token">
    <summary>${toVisible(subject)}<span class="quiet"> · ${left > 0 ? `${toSpan(left)} left` : 'expired'}</span></summary>
    <div class="panel">
      <dl>
        <dt>Subject</dt><dd>${toVisible(subject)}</dd>
        <dt>Tenant</dt><dd>${toVisible(tenant)}</dd>
        <dt>Scopes</dt><dd>${scopes.length === 0 ? 'none' : scopes.map(scope => html`<code>${toVisible(scope)}</code> `)}</dd>
        <dt>Expires</dt><dd>${new Date(expiresAt).toLocaleString()}</dd>
      </dl>
      <button type="button" onClick=${ui.leave}>Forget the token</button>
    </div>
  </details>`
}

const streamTexts = {
  connecting: 'connecting', live: 'live', waiting: 'reconnecting', expired: 'loading', ended: 'not following'
} as const

const Connection = ({ ui }: { ui: Ui }) => {
  const { jobsPage, jobPage, session, place } = ui
  const { view } = place()
  if (session.problem() !== null) return null
  const job = jobPage.view()
  if (view === 'service') return null
  const state = view === 'jobs' ? jobsPage.stream() : job?.stream ?? 'connecting'
  const hasEnded = view === 'job' && (job?.job?.isTerminal === true || job?.isGone === true)
  const text = hasEnded ? 'finished' : state === 'ended' && jobsPage.isLoading() ? 'loading' : streamTexts[state]
  return html`<p class="connection" role="status" data-state=${hasEnded ? 'ended' : state}>${text}</p>`
}

/** The page. */
export const App = ({ ui }: { ui: Ui }) => {
  const { place, jobsPage } = ui
  const { view } = place()
  const toLink = (name: string, to: string, isCurrent: boolean) =>
    html`<a href=${to} aria-current=${isCurrent ? 'page' : undefined}>${name}</a>`
  return html`
    <header class="top">
      <h1>Job status</h1>
      <nav aria-label="Views">
        ${toLink('Jobs', toFragment({ view: 'jobs', filters: jobsPage.filters() }), view === 'jobs')}
        ${toLink('Service', toFragment({ view: 'service' }), view === 'service')}
      </nav>
      <${Connection} ui=${ui} />
      <${TokenInfo} ui=${ui} />
    </header>
    <main>
      ${view === 'jobs' && html`<${JobsView} ui=${ui} />`}
      ${view === 'job' && html`<${JobView} ui=${ui} />`}
      ${view === 'service' && html`<${ServiceView} ui=${ui} />`}
    </main>
    <${TokenDialog} ui=${ui} />
    <${QuestionDialog} ui=${ui} />`
}
