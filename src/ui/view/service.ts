import { html } from '../libraries.ts'
import { toSpan, toTime, toVisible } from '../state/format.ts'
import { toPlots } from '../state/service/series.ts'
import type { ServiceState } from '../state/service/service.ts'
import { Heading } from './heading.ts'
import { PlotView } from './plot.ts'
import type { Ui } from './ui.ts'

const stateOf = (status: string): string => status === 'ok' ? 'succeeded' : 'failed'

const Facts = ({ state, now }: { state: ServiceState, now: number }) => {
  const { process, store, cache, redis, current: { waitingClients } } = state
  const toPart = ({ kind, status, since, reason }: ServiceState['store'], mode = '') => html`
    <span class="state" data-state=${stateOf(status)}>${status}</span>${` ${kind}${mode} since ${toTime(since)}`}
    ${reason !== null && html` <span class="problem">${toVisible(reason)}</span>`}`
  return html`<section class="card" aria-label="Now"><dl>
    <dt>Process</dt><dd><code>${toVisible(process.id)}</code>, up for ${toSpan(now - Date.parse(process.startedAt))}, embedded workers: ${process.workers}${process.isDraining ? ', draining' : ''}</dd>
    <dt>Store</dt><dd>${toPart(store)}</dd>
    <dt>Cache</dt><dd>${toPart(cache, `, mode ${cache.mode},`)}</dd>
    <dt>Redis</dt><dd>${redis === null ? 'none' : html`<span class="state" data-state=${redis.isReachable ? 'succeeded' : 'failed'}>${redis.isReachable ? 'reachable' : 'out of reach'}</span> ${redis.kind}`}</dd>
    <dt>Waiting clients</dt><dd>${waitingClients.longPolls + waitingClients.streams + waitingClients.feeds}</dd>
  </dl></section>`
}

const CacheHistory = ({ history }: { history: ServiceState['cacheHistory'] }) => html`<section class="card" aria-label="Cache history">
  <h3>Changes of the cache mode</h3>
  <ol class="timeline">
    ${history.slice(-20).map(({ at, mode, reason }) => html`<li data-state=${mode === 'on' ? 'succeeded' : mode === 'warm' ? 'cancelled' : 'failed'}>
      <span class="title">${mode}</span> <time datetime=${at}>${toTime(at)}</time>${reason !== null && ` ${toVisible(reason)}`}
    </li>`)}
  </ol>
</section>`

/** The state of the service: what is now, and the last hour. */
export const ServiceView = ({ ui }: { ui: Ui }) => {
  const { state, samples, error } = ui.servicePage.view()
  const times = samples.map(({ at }) => Date.parse(at) / 1000)
  return html`<section class="job service" aria-label="Service">
    <${Heading} text="Service" />
    ${error !== null && error.status !== 401 && html`<p class="problem" role="alert">${error.message}</p>`}
    ${state === null
      ? error === null && html`<p>loading …</p>`
      : html`<${Facts} state=${state} now=${ui.now()} />
        <div class="plots">${toPlots(samples).map(data => html`<${PlotView} key=${data.title} data=${data} times=${times} />`)}</div>
        <${CacheHistory} history=${state.cacheHistory} />`}
  </section>`
}
