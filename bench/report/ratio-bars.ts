import type { SuiteResult } from '../result.ts'
import { findRatioBudget, isMeaningful, toOtherRatios, type Figures } from './figures.ts'
import { toRatio } from './format.ts'
import { escapeHtml } from './html-text.ts'

type Bar = {
  name: string
  ratio: number
  ratioToSame?: number | null
  isService: boolean
  isValid: boolean
  budget?: { bound: number, isBroken: boolean }
}

// A bulk read of 100 jobs would make all other bars too short, so longer bars are cut off and marked.
const longestScale = 16

const toScaleEnd = (bars: Bar[]) => {
  const ends = bars.flatMap(({ ratio, budget }) => [ratio, budget?.bound ?? 0]).filter(end => end <= longestScale)
  return Math.ceil(Math.max(2, ...ends))
}

const toBars = (result: SuiteResult, figures: Figures[]): Bar[] => [
  ...figures.filter(({ isService }) => isService).flatMap(({ scenario, title, ratioToBare, ratioToSame, isValid }) => {
    if (ratioToBare === null) return []
    const verdict = findRatioBudget(result, scenario)
    const isBroken = verdict?.outcome === 'broken' && isMeaningful(result, verdict)
    const budget = verdict && { bound: verdict.bound, isBroken }
    return [{ name: title, ratio: ratioToBare, ratioToSame, isService: true, isValid, ...budget && { budget } }]
  }),
  ...toOtherRatios(figures).map(other => ({ ...other, isService: false, isValid: true }))
]

const toItem = ({ name, ratio, ratioToSame = null, isService, isValid, budget }: Bar, scale: number) => {
  const toPercent = (value: number) => `${(Math.min(value / scale, 1) * 100).toFixed(2)}%`
  const kinds = [isService ? 'of-service' : 'of-other', budget?.isBroken && 'over', ratio > scale && 'beyond']
    .filter(Boolean).join(' ')
  const tick = budget && budget.bound <= scale
    ? `<span class="budget" style="left:${toPercent(budget.bound)}"></span>`
    : ''
  const words = [
    ratioToSame !== null && `same bytes ${toRatio(ratioToSame)}`,
    budget && `${budget.isBroken ? 'over ' : ''}budget ${toRatio(budget.bound)}`,
    ratio > scale && 'longer than shown',
    !isValid && 'not valid'
  ].filter(Boolean).join(', ')
  return `<li class="${kinds}"><span class="name">${escapeHtml(name)}</span>` +
    `<span class="track" aria-hidden="true"><span class="bar" style="width:${toPercent(ratio)}"></span>${tick}</span>` +
    `<span class="figure"><strong>${toRatio(ratio)} ×</strong><span>${words}</span></span></li>`
}

const toScale = (scale: number, step: number) => {
  const marks = Array.from({ length: Math.floor(scale / step) + 1 }, (_, at) => at * step)
  return '<li class="scale" aria-hidden="true"><span class="empty"></span><span class="marks">' +
    marks.map(mark => `<span style="left:${(mark / scale * 100).toFixed(2)}%">${mark}</span>`).join('') +
    '</span></li>'
}

/**
 * Bars for the CPU per request of each scenario, control and peer as a multiple of the bare route's, with the budgets
 * as ticks.
 */
export const toRatioBars = (result: SuiteResult, figures: Figures[]): string => {
  const bars = toBars(result, figures)
  if (bars.length === 0) return '<p class="note">The CPU of the server was not measured in this run.</p>'
  const scale = toScaleEnd(bars)
  const step = scale > 12 ? 2 : 1
  const toList = (heading: string, isService: boolean) => {
    const items = bars.filter(bar => bar.isService === isService).map(bar => toItem(bar, scale))
    if (items.length === 0) return ''
    return `<h3>${heading}</h3>\n<ul class="bars" role="list">\n${items.join('\n')}\n${toScale(scale, step)}\n</ul>`
  }
  return `<div style="--step:${(step / scale * 100).toFixed(3)}%">
<div class="key" aria-hidden="true">
<span><i class="service"></i>the service</span><span><i class="bad"></i>over its budget</span>
<span><i></i>others</span><span><i class="mark"></i>budget</span>
</div>
${toList('The service', true)}
${toList('Controls, peers and other setups', false)}
</div>`
}
