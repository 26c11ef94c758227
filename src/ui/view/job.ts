import { html } from '../libraries.ts'
import { toFragment } from '../state/table/filters.ts'
import { toAge, toVisible } from '../state/format.ts'
import { type Job, toJobPath } from '../state/job.ts'
import type { JobView as JobState } from '../state/job/job-page.ts'
import { Callbacks } from './callbacks.ts'
import { ContentView } from './content.ts'
import { Heading } from './heading.ts'
import { ProgressBar } from './progress.ts'
import { Timeline } from './timeline.ts'
import type { Ui } from './ui.ts'

const Progress = ({ job, seenAt, now }: { job: Job, seenAt: number, now: number }) => {
  const { progress: { done, total, stage, message, etaSeconds } } = job
  const leftMs = etaSeconds === null ? null : etaSeconds * 1000 - (now - seenAt)
  const parts = [
    stage === null ? null : toVisible(stage),
    done === null ? null : `${done.toLocaleString('en')}${total === null ? '' : ` of ${total.toLocaleString('en')}`}`,
    leftMs === null || job.isTerminal ? null : leftMs > 0 ? `about ${toAge(leftMs + 999)} left` : 'any moment now'
  ].filter(part => part !== null)
  return html`<section aria-label="Progress" class="card">
    <h3>Progress</h3>
    <${ProgressBar} job=${job} />
    ${parts.length > 0 && html`<p>${parts.join(' · ')}</p>`}
    ${message !== null && html`<pre class="text">${message}</pre>`}
  </section>`
}

const FailureView = ({ failure }: { failure: NonNullable<Job['failure']> }) => html`<section aria-label="Failure" class="card">
  <h3>Failure</h3>
  <p><code>${toVisible(failure.code)}</code></p>
  <pre class="text">${failure.message}</pre>
  ${failure.details !== undefined && html`<pre class="text">${JSON.stringify(failure.details, null, 2)}</pre>`}
</section>`

const Actions = ({ ui, job }: { ui: Ui, job: Job }) => {
  const { session, jobPage, ask } = ui
  if (!session.has('jobs:write')) return null
  const cancel = (): void => {
    ask({ text: 'Cancel this job? A worker that runs it is asked to stop.', answer: 'Cancel the job', onYes: () => { void jobPage.cancel() } })
  }
  const erase = (): void => {
    ask({
      text: 'Erase this job, with its input, result, attempts and callbacks? This cannot be undone.',
      answer: 'Erase the job',
      onYes: () => { void jobPage.erase() }
    })
  }
  return job.isTerminal
    ? html`<button type="button" class="danger" onClick=${erase}>Erase …</button>`
    : html`<button type="button" class="danger" disabled=${job.cancelRequested} onClick=${cancel}>
      ${job.cancelRequested ? 'Cancelling' : 'Cancel …'}
    </button>`
}

const JobDetails = ({ ui, state }: { ui: Ui, state: JobState }) => {
  const { job, seenAt, jobId } = state
  if (job === null) {
    if (state.error === null || state.error.status === 401) return html`<p>loading …</p>`
    return html`<p class="problem" role="alert">${state.error.message}</p>`
  }
  const now = ui.now()
  return html`
    <${Progress} job=${job} seenAt=${seenAt} now=${now} />
    ${job.failure !== null && html`<${FailureView} failure=${job.failure} />`}
    <${Timeline} job=${job} attempts=${state.attempts} now=${now} />
    <${ContentView} ui=${ui} name="Input" source=${{ jobId, name: 'input' }} part=${state.input}
      command=${`curl -H "Authorization: Bearer $JOB_STATUS_TOKEN" -o ${jobId} ${ui.addressOf(`${toJobPath(jobId)}/input`)}`} />
    ${job.resultAvailable && html`<${ContentView} ui=${ui} name="Result" source=${{ jobId, name: 'result' }} part=${state.result}
      command=${`job-status result ${jobId} -o ${jobId}`} external=${job.resultUrl} />`}
    ${job.expiredAt !== null && html`<section aria-label="Result" class="card"><h3>Result</h3><p>It is past its retention and was removed.</p></section>`}
    ${state.callbacks.value !== null && state.callbacks.value.length > 0 &&
      html`<${Callbacks} callbacks=${state.callbacks.value} now=${now} redeliver=${(id: string) => ui.jobPage.redeliver(id)} />`}`
}

/** One job. */
export const JobView = ({ ui }: { ui: Ui }) => {
  const state = ui.jobPage.view()
  if (state === null) return null
  const { job, isGone, notice } = state
  return html`<section class="job" aria-label="Job">
    <p><a href=${toFragment({ view: 'jobs', filters: ui.jobsPage.filters() })}>← All jobs</a></p>
    <${Heading} key=${state.jobId} text=${job?.type ?? 'Job'} />
    <p class="id"><code>${toVisible(state.jobId)}</code></p>
    ${job !== null && !isGone && html`<p class="actions">
      <span class="state" role="status" data-state=${job.status}>${job.status}${job.cancelRequested && !job.isTerminal ? ', cancel asked' : ''}</span>
      <${Actions} ui=${ui} job=${job} />
    </p>`}
    <p role="status" class="notice">${notice ?? ''}</p>
    ${isGone ? html`<p class="problem">This job was erased, or is no longer for this token.</p>` : html`<${JobDetails} ui=${ui} state=${state} />`}
  </section>`
}
