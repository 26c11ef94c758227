import { html } from '../libraries.ts'
import { toSize, toVisible } from '../state/format.ts'
import type { Content, Preview } from '../state/job/preview.ts'
import type { Part } from '../state/job/job-page.ts'
import type { DownloadState, Source } from '../state/job/downloads.ts'
import { externalResult } from '../api/api.ts'
import type { Ui } from './ui.ts'

type ContentProps = {
  ui: Ui
  name: string
  source: Source
  part: Part<Content>
  /** What saves these bytes from a terminal. */
  command: string
  /** Where the bytes are, if not here. */
  external?: string | null
}

const PreviewView = ({ preview, name }: { preview: Preview, name: string }) => {
  if (preview.kind === 'image') return html`<img class="preview" src=${preview.url} alt=${`${name} of the job, as an image`} />`
  if (preview.kind === 'none') return html`<p class="quiet">There is no preview for this type.</p>`
  return html`<pre class="preview" tabindex="0" aria-label=${`Preview of the ${name.toLowerCase()}`}>${preview.text}</pre>
    ${preview.isCut && html`<p class="quiet">Only the beginning is shown.</p>`}`
}

const toText = ({ received, end }: DownloadState, sizeBytes: number | null): string => {
  if (end === 'saved') return 'Saved.'
  if (end === 'failed') return 'The download failed or was stopped.'
  if (end === 'too-large') return 'This browser cannot save so much. This command can:'
  return `${toSize(received)}${sizeBytes === null ? '' : ` of ${toSize(sizeBytes)}`}`
}

const DownloadView = ({ ui, source, content, command }: { ui: Ui, source: Source, content: Content, command: string }) => {
  const state = ui.downloadOf(source)
  const isRunning = state !== null && state.end === null
  return html`<p class="actions">
    <button type="button" disabled=${isRunning} onClick=${() => { ui.download(source, content) }}>Download</button>
    ${isRunning && html`<button type="button" onClick=${state.abort}>Stop</button>`}
    <span role="status">${state === null ? '' : toText(state, content.sizeBytes)}</span>
  </p>
  ${state?.end === 'too-large' && html`<pre><code>${command}</code></pre>`}`
}

/** The bytes of an input or a result: a preview where it is safe, and their download. */
export const ContentView = ({ ui, name, source, part, command, external = null }: ContentProps) => {
  const { value, error } = part
  const isElsewhere = error !== null && (error.code as string) === externalResult
  return html`<section aria-label=${name} class="card">
    <h3>${name}</h3>
    ${value === null && error === null && html`<p>loading …</p>`}
    ${isElsewhere && html`<p>It is at another address:</p><pre class="text">${toVisible(external ?? '')}</pre>`}
    ${error !== null && !isElsewhere && html`<p class="problem">${error.message}</p>`}
    ${value !== null && html`
      <p class="quiet">${[value.mediaType, value.sizeBytes === null ? null : toSize(value.sizeBytes)].filter(Boolean).join(' · ')}</p>
      <${PreviewView} preview=${value.preview} name=${name} />
      <${DownloadView} ui=${ui} source=${source} content=${value} command=${command} />`}
  </section>`
}
