import { html } from '../libraries.ts'
import { toSpan, toTime, toVisible } from '../state/format.ts'
import type { Job } from '../state/job.ts'
import type { Attempt, JobView } from '../state/job/job-page.ts'

type Step = { at: string | null, title: string, state: string, span?: string, failure?: Attempt['failure'] }

const outcomes: Record<string, string> = {
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
  released: 'given back by its worker',
  'lease-lost': 'its worker stopped reporting',
  'timed-out': 'ran out of time'
}

const toAttemptSteps = (attempts: readonly Attempt[], now: number): Step[] => attempts.flatMap(attempt => {
  const { startedAt, endedAt, outcome, failure } = attempt
  const isOpen = endedAt === null && outcome === null
  const ms = (endedAt === null ? now : Date.parse(endedAt)) - Date.parse(startedAt)
  const start = { at: startedAt, title: `Attempt ${attempt.attempt} claimed`, state: 'running' }
  if (isOpen) return [{ ...start, span: `running for ${toSpan(ms)}` }]
  const end = {
    at: endedAt,
    title: `Attempt ${attempt.attempt} ${outcomes[outcome ?? ''] ?? outcome ?? 'ended'}`,
    state: outcome === 'succeeded' ? 'succeeded' : outcome === 'cancelled' ? 'cancelled' : outcome === 'released' ? 'queued' : 'failed',
    span: `after ${toSpan(ms)}`,
    failure
  }
  return [start, end]
})

const toSteps = (job: Job, attempts: readonly Attempt[], now: number): Step[] => {
  const { createdAt, finishedAt, startedAt, status, cancelRequested, isTerminal, expiresAt, expiredAt } = job
  const runs = toAttemptSteps(attempts, now)
  // A row of another engine has no history of its runs.
  if (runs.length === 0 && startedAt !== null) runs.push({ at: startedAt, title: 'Started', state: 'running' })
  const steps: Step[] = [{ at: createdAt, title: 'Submitted', state: 'queued' }, ...runs]
  if (status === 'queued' && job.attempt > 0) steps.push({ at: null, title: 'Queued again for a retry', state: 'queued' })
  if (cancelRequested && !isTerminal) steps.push({ at: null, title: 'Cancel asked', state: 'cancelled' })
  if (isTerminal) steps.push({ at: finishedAt, title: `Job ${status}`, state: status, span: finishedAt === null ? '' : `${toSpan(Date.parse(finishedAt) - Date.parse(createdAt))} after the submission` })
  if (expiredAt !== null) steps.push({ at: expiredAt, title: 'Result removed', state: 'queued' })
  else if (expiresAt !== null) steps.push({ at: expiresAt, title: 'Result is due to be removed', state: 'queued' })
  return steps
}

/** What has happened to a job, oldest first. */
export const Timeline = ({ job, attempts, now }: { job: Job, attempts: JobView['attempts'], now: number }) => html`
  <section aria-label="Timeline" class="card">
    <h3>Timeline</h3>
    <ol class="timeline">
      ${toSteps(job, attempts.value ?? [], now).map(({ at, title, state, span, failure }) => html`<li data-state=${state}>
        <span class="title">${title}</span>
        ${at !== null && html` <time datetime=${at}>${toTime(at)}</time>`}
        ${span !== undefined && html` <span class="quiet">${span}</span>`}
        ${failure != null && html`<p class="reason"><code>${toVisible(failure.code)}</code> ${failure.message}</p>`}
      </li>`)}
    </ol>
    ${attempts.error !== null && html`<p class="problem">${attempts.error.message}</p>`}
  </section>`
