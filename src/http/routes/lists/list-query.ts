import { type Static, Type } from '@sinclair/typebox'
import { type JobState, recordStatuses, toRecordStatus } from '../../../job/job.ts'
import type { ListPosition } from '../../../job/list-position.ts'
import { toEpochMs } from '../../../job/time.ts'
import type { ListStatuses } from '../../../status/read-status.ts'
import { taskStatuses } from '../../../views/schemas.ts'
import type { Principal } from '../../auth/principal.ts'
import { waitParameter } from '../../headers/wait.ts'
import type { ViewName } from '../../paths.ts'
import { brokenRule } from '../../problem.ts'

const idsMax = 100
const limitMax = 200
const limitDefault = 50

const words = { v1: recordStatuses, task: taskStatuses } as const satisfies Record<ViewName, readonly string[]>

const statusDescriptions: Record<ViewName, string> = {
  v1: 'Only jobs of these statuses, separated by commas; cancelled jobs are Failed.',
  task: 'Only jobs of these statuses, separated by commas.'
}

const time = (description: string) => Type.Optional(Type.String({
  description: `${description}, ISO 8601; UTC unless it has an offset.`
}))

// A database may be unable to store, and to compare, a NUL.
const filter = (description: string) => Type.Optional(Type.String({ pattern: '^[^\\u0000]*$', description }))

// No schema defaults: a default would look like a parameter that the client sent beside `ids`.
export const createListQuery = (view: ViewName) => {
  const word = `(${words[view].join('|')})`
  return Type.Object({
    ids: Type.Optional(Type.String({
      minLength: 1, description: `Up to ${idsMax} ids, separated by commas. Not allowed with other parameters than wait.`
    })),
    status: Type.Optional(Type.String({ pattern: `^${word}(,${word})*$`, description: statusDescriptions[view] })),
    type: filter('Only jobs of this type.'),
    createdAfter: time('Only jobs accepted after this time'),
    createdBefore: time('Only jobs accepted before this time'),
    idPrefix: filter('Only jobs whose id begins like this.'),
    limit: Type.Optional(Type.Integer({
      minimum: 1, maximum: limitMax, description: `The most jobs on a page. Default: ${limitDefault}.`
    })),
    cursor: Type.Optional(Type.String({ description: 'The nextCursor of the previous page.' })),
    wait: waitParameter
  }, { additionalProperties: false })
}
export type ListQuery = Static<ReturnType<typeof createListQuery>>

export const toCursor = ({ createdMs, seq }: ListPosition): string =>
  Buffer.from(`${createdMs} seq ${seq}`).toString('base64url')

// Accepts only the exact text of a cursor that the service has issued.
const parseCursor = (cursor: string): ListPosition => {
  const text = Buffer.from(cursor, 'base64url').toString()
  // Earlier releases named the rowid, which may be the seq of another row, or knew no time of a row.
  if (/^((-?\d+|none) \d+|none seq \d+)$/.test(text)) {
    const rule = 'comes from an earlier release of the service; start the list again without a cursor'
    throw brokenRule('cursor', 'format', rule)
  }
  const [, createdMs = '', seq = ''] = /^(-?\d+) seq (\d+)$/.exec(text) ?? []
  const position = { createdMs: Number(createdMs), seq: Number(seq) }
  if (createdMs === '' || toCursor(position) !== cursor || !Object.values(position).every(Number.isSafeInteger)) {
    throw brokenRule('cursor', 'format', 'must be the nextCursor of another page')
  }
  return position
}

const parseTime = (field: 'createdAfter' | 'createdBefore', text: string | undefined): number | null => {
  if (text === undefined) return null
  const ms = toEpochMs(text)
  if (ms !== null) return ms
  throw brokenRule(field, 'format', 'must be an ISO 8601 date or date-time; encode + as %2B in a URL')
}

const parseStates = (view: ViewName, text: string | undefined): readonly JobState[] | null => {
  if (text === undefined) return null
  const asked = text.split(',')
  return taskStatuses.filter(state => asked.includes(view === 'task' ? state : toRecordStatus(state)))
}

/** The page that a query asks for. Throws VALIDATION_FAILED. */
export type PageRequest = { filter: Parameters<ListStatuses>[0], after: ListPosition | null, limit: number }

export const parsePageRequest = (view: ViewName, query: ListQuery, principal: Principal): PageRequest => {
  const { status, type = null, createdAfter, createdBefore, idPrefix = null, limit = limitDefault, cursor } = query
  return {
    filter: {
      tenant: principal.allTenants ? null : principal.tenant,
      states: parseStates(view, status),
      type,
      createdAfter: parseTime('createdAfter', createdAfter),
      createdBefore: parseTime('createdBefore', createdBefore),
      idPrefix
    },
    after: cursor === undefined ? null : parseCursor(cursor),
    limit
  }
}

/** The ids that a query names, each once. Throws VALIDATION_FAILED. */
export const parseIds = (ids: string, query: ListQuery): string[] => {
  const others = Object.keys(query).filter(name => name !== 'ids' && name !== 'wait')
  if (others.length > 0) {
    throw brokenRule('ids', 'alone', `cannot be combined with other parameters: leave out ${others.join(', ')}`)
  }
  const all = ids.split(',')
  if (all.length > idsMax) throw brokenRule('ids', 'maxItems', `must not name more than ${idsMax} jobs`)
  return [...new Set(all)]
}
