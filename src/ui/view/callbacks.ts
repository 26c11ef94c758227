import { html } from '../libraries.ts'
import { toSpan, toTime, toVisible } from '../state/format.ts'
import type { Callback } from '../state/job/job-page.ts'

// Shown in the colours of states of jobs.
const states: Record<Callback['state'], string> = { waiting: 'queued', pending: 'queued', delivered: 'succeeded', failed: 'failed' }

type CallbacksProps = { callbacks: readonly Callback[], now: number, redeliver: (id: string) => Promise<void> }

const toNext = (nextTryAt: string | null, now: number): string => {
  if (nextTryAt === null) return ''
  const ms = Date.parse(nextTryAt) - now
  return ms > 0 ? `next try in ${toSpan(ms)}` : 'a try is due'
}

/** The deliveries of a job's callbacks. */
export const Callbacks = ({ callbacks, now, redeliver }: CallbacksProps) => html`<section aria-label="Callbacks" class="card">
  <h3>Callbacks</h3>
  <ul class="callbacks">
    ${callbacks.map(({ id, url, state, tries, lastStatus, lastError, lastTriedAt, nextTryAt }) => html`<li key=${id}>
      <p><code>${toVisible(url)}</code></p>
      <p>
        <span class="state" data-state=${states[state]}>${state}</span>
        ${` ${tries} ${tries === 1 ? 'try' : 'tries'}`}
        ${lastTriedAt !== null && ` · last ${toTime(lastTriedAt)}`}${lastStatus !== null && ` · HTTP ${lastStatus}`}
        ${state === 'pending' && ` · ${toNext(nextTryAt, now)}`}
      </p>
      ${lastError !== null && html`<p class="problem">${lastError}</p>`}
      ${state !== 'waiting' && html`<button type="button" onClick=${() => { void redeliver(id) }}>Send again</button>`}
    </li>`)}
  </ul>
</section>`
