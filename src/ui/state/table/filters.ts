import { type Job, type State, states } from '../job.ts'

/*
 * What the table shows. The service filters the lists; the same rules decide here about changes of the feed.
 */

/** The ages that can be chosen. */
export const ages = { '5m': 300_000, '1h': 3_600_000, '1d': 86_400_000, '7d': 604_800_000 } as const
export type Age = keyof typeof ages

/** An empty list or text, or a null, filters nothing. */
export type Filters = { states: readonly State[], type: string, age: Age | null, idPrefix: string }

export const noFilters: Filters = { states: [], type: '', age: null, idPrefix: '' }

/** Parameters of the list. `now`: of the service, in ms since 1970. */
export const toListQuery = ({ states, type, age, idPrefix }: Filters, now: number): URLSearchParams => {
  const query = new URLSearchParams()
  if (states.length > 0) query.set('status', states.join(','))
  if (type !== '') query.set('type', type)
  if (age !== null) query.set('createdAfter', new Date(now - ages[age]).toISOString())
  if (idPrefix !== '') query.set('idPrefix', idPrefix)
  return query
}

/** Whether a job is old enough to leave the table. */
export const isTooOld = ({ createdAt }: Pick<Job, 'createdAt'>, { age }: Filters, now: number): boolean =>
  age !== null && Date.parse(createdAt) <= now - ages[age]

/** Whether the table shows a job. */
export const isShown = (job: Job, filters: Filters, now: number): boolean => {
  const { states, type, idPrefix } = filters
  return (states.length === 0 || states.includes(job.status)) && (type === '' || job.type === type) &&
    job.taskId.startsWith(idPrefix) && !isTooOld(job, filters, now)
}

/** What the address of the page shows: the table with its filters, a job, or the service. */
export type Place =
  | { view: 'jobs', filters: Filters }
  | { view: 'job', jobId: string }
  | { view: 'service' }

/** The fragment of the address that stands for a place. */
export const toFragment = (place: Place): string => {
  if (place.view === 'job') return `#/jobs/${encodeURIComponent(place.jobId)}`
  if (place.view === 'service') return '#/service'
  const { filters: { states, type, age, idPrefix } } = place
  const query = new URLSearchParams()
  if (states.length > 0) query.set('state', states.join(','))
  if (type !== '') query.set('type', type)
  if (age !== null) query.set('age', age)
  if (idPrefix !== '') query.set('id', idPrefix)
  return query.size === 0 ? '#/' : `#/?${query}`
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The place that a fragment stands for; the table where it stands for none. */
export const toPlace = (fragment: string): Place => {
  const [path = '', query = ''] = fragment.replace(/^#/, '').split('?', 2)
  if (path === '/service') return { view: 'service' }
  const jobId = /^\/jobs\/([^/]+)$/.exec(path)?.[1]
  if (jobId !== undefined) return { view: 'job', jobId: decode(jobId) }
  const fields = new URLSearchParams(query)
  const named = (fields.get('state') ?? '').split(',')
  const age = fields.get('age') ?? ''
  return {
    view: 'jobs',
    filters: {
      states: states.filter(state => named.includes(state)),
      type: fields.get('type') ?? '',
      age: Object.hasOwn(ages, age) ? age as Age : null,
      idPrefix: fields.get('id') ?? ''
    }
  }
}
