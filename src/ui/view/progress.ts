import { html } from '../libraries.ts'
import type { Job } from '../state/job.ts'

/** The progress of a job as a bar and a number. */
export const ProgressBar = ({ job: { progress: { percent }, status } }: { job: Job }) => {
  const whole = Math.floor(percent)
  return html`<span class="progress" data-state=${status}>
    <progress max="100" value=${whole} aria-label="Progress" />
    <span class="number">${whole} %</span>
  </span>`
}
