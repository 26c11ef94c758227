import { createApi } from './api/api.ts'
import { html, render } from './libraries.ts'
import { loadColumns, toggleColumn } from './state/table/columns.ts'
import { createDownloads } from './state/job/downloads.ts'
import { type Place, toFragment, toPlace } from './state/table/filters.ts'
import { JobPage } from './state/job/job-page.ts'
import { JobsPage } from './state/table/jobs-page.ts'
import { ServicePage } from './state/service/service-page.ts'
import type { Schedule } from './state/schedule.ts'
import { createSession } from './state/session.ts'
import { App } from './view/app.ts'
import type { Question, Ui } from './view/ui.ts'

/*
 * Puts the page together. What is shown is a function of the state of the parts: any change asks for one repaint with
 * the next frame.
 */

const root = document.getElementById('page') ?? document.body

const schedule: Schedule = (work, ms) => {
  const timer = setTimeout(work, ms)
  return { cancel: () => { clearTimeout(timer) } }
}

// The clock of the service, as far as the seconds of its responses show it.
let clockOffsetMs = 0
const now = (): number => Date.now() + clockOffsetMs
const onResponse = (response: Response): void => {
  const offset = Date.parse(response.headers.get('date') ?? '') - Date.now()
  if (Number.isFinite(offset)) clockOffsetMs = Math.abs(offset) < 2000 ? 0 : offset
}

let isRepainting = false
const repaint = (): void => {
  if (isRepainting) return
  isRepainting = true
  requestAnimationFrame(() => {
    isRepainting = false
    render(html`<${App} ui=${ui} />`, root)
  })
}

let place: Place = toPlace(location.hash)
let columns = loadColumns(localStorage)
let question: Question | null = null
let owner = ''

const session = createSession(sessionStorage, () => {
  follow()
  repaint()
})
const base = location.pathname.replace(/ui$/, '')
const api = createApi({
  base,
  fetch: (...request) => fetch(...request),
  token: session.token,
  onRejected: session.reject
})
const needs = { api, now, schedule, onChange: repaint }
const jobsPage = new JobsPage({ ...needs, onResponse })
const jobPage = new JobPage({ ...needs, has: session.has, createUrl: blob => URL.createObjectURL(blob), revokeUrl: url => { URL.revokeObjectURL(url) } })

const servicePage = new ServicePage(needs)
const downloads = createDownloads({ api, onChange: repaint, window })

/** What is shown belongs to the token before. */
const forgetJobs = (): void => {
  jobPage.hide()
  jobsPage.reset()
  servicePage.reset()
  downloads.stopDownloads()
}

/** One stream at a time: browsers open six connections to a service, and tabs share them. */
const follow = (): void => {
  if (place.view !== 'jobs') jobsPage.hide()
  if (place.view !== 'job') jobPage.hide()
  if (place.view !== 'service') servicePage.hide()
  const claims = session.claims()
  if (session.problem() !== null || claims === null || document.hidden) return
  const { tenant, scopes } = claims
  const reader = `${tenant} ${scopes.includes('jobs:admin')}`
  if (owner !== '' && owner !== reader) forgetJobs()
  owner = reader
  if (place.view === 'jobs') jobsPage.show(place.filters)
  if (place.view === 'job') jobPage.show(place.jobId)
  if (place.view === 'service') servicePage.show()
}

const ui: Ui = {
  addressOf: path => new URL(base + path.slice(1), location.href).href,
  session,
  jobsPage,
  jobPage,
  servicePage,
  place: () => place,
  leave: () => {
    session.leave()
    forgetJobs()
  },
  now,
  tokenCommand: document.body.dataset.tokenCommand ?? null,
  columns: () => columns,
  toggleColumn: column => {
    columns = toggleColumn(localStorage, columns, column)
    repaint()
  },
  go: next => { location.hash = toFragment(next) },
  filter: change => {
    // The address is newer than the table, which learns of it by an event.
    const current = toPlace(location.hash)
    const filters = current.view === 'jobs' ? current.filters : jobsPage.filters()
    location.hash = toFragment({ view: 'jobs', filters: { ...filters, ...change } })
  },
  question: () => question,
  ask: asked => {
    question = asked
    repaint()
  },
  ...downloads,
  repaint
}

addEventListener('hashchange', () => {
  place = toPlace(location.hash)
  follow()
  repaint()
})
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) return follow()
  jobsPage.hide()
  servicePage.hide()
})
setInterval(() => {
  session.checkExpiry(now())
  jobsPage.list.removeOld(now())
  repaint()
}, 1000)
follow()
repaint()
