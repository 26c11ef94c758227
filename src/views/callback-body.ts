import { memberText } from '../job/json/text.ts'
import { isTerminal, type JobLookup } from '../job/job.ts'
import { toIso } from '../job/time.ts'
import type { Views } from './views.ts'

/** Whose callback it is. `isGone`: its job was deleted before its end. */
export type CallbackOf = { jobId: string, tenant: string, isGone: boolean }

/**
 * The body of a callback, made at `at` (ms since 1970) of the job as it then is; null for a record that breaks BR-001.
 */
export type ToCallbackBody = (of: CallbackOf, lookup: JobLookup, at: number) => string | null

const resultMember = ',"result":'

// The view ends with its result. The text is kept: to parse it would round the numbers of a failure's details.
const withoutResult = (taskBody: string): string | null => {
  const data = memberText(taskBody, 'data')
  const result = data === undefined ? undefined : memberText(data, 'result')
  if (data === undefined || result === undefined) return null
  return `${data.slice(0, -(resultMember.length + result.length + 1))}}`
}

/** The body: the event, when it happened, and the task view without its result, which may be large. */
export const createToCallbackBody = ({ toEntry }: Pick<Views, 'toEntry'>): ToCallbackBody => (of, lookup, at) => {
  const { jobId, tenant, isGone } = of
  const body = (type: string, when: number, data: string) =>
    `{"type":"job.${type}","timestamp":"${toIso(when)}","data":${data}}`
  // Another program may have given the job to another tenant, and its state is then no business of this one.
  const isForeign = lookup.kind === 'job' && lookup.job.tenant !== null && lookup.job.tenant !== tenant
  if (isGone || isForeign) return body('gone', at, JSON.stringify({ taskId: jobId }))
  if (lookup.kind !== 'job' || !isTerminal(lookup.job)) return null
  const data = withoutResult(toEntry(lookup).taskBody)
  return data === null ? null : body(lookup.job.state, lookup.job.finishedAt ?? at, data)
}
