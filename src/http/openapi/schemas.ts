import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { catalogue, type FailureCode } from '../../errors.ts'
import { Nullable, StringEnum } from '../../job/schema-kinds.ts'
import { JobStatus, TaskData, TaskStatus } from '../../views/schemas.ts'

/*
 * The named schemas of the OpenAPI document: both views, lists of jobs, and errors.
 */

const Time = Type.String({ format: 'date-time', description: 'ISO 8601, UTC' })

const page = {
  nextCursor: Nullable(Type.String({ description: 'The cursor of the next page; null on the last page.' }))
}
const byIds = {
  notFound: Type.Array(Type.String(), { description: 'Ids of no job that is visible to this token.' }),
  expired: Type.Array(Type.String(), { description: 'Ids of jobs whose record has been removed.' })
}

const jobs = Type.Array(Type.Unsafe<JobStatus>(Type.Ref('JobStatus')))
const JobPage = Type.Object({ items: jobs, ...page }, { $id: 'JobPage', additionalProperties: false })
const JobsById = Type.Object({ items: jobs, ...byIds }, { $id: 'JobsById', additionalProperties: false })

const tasks = Type.Array(TaskData, { description: 'Without inline results: `result` is null.' })
const inEnvelope = ($id: string, data: TSchema) =>
  Type.Object({ success: Type.Literal(true), data }, { $id, additionalProperties: false })
const TaskPage = inEnvelope('TaskPage', Type.Object({ items: tasks, ...page }, { additionalProperties: false }))
const TasksById = inEnvelope('TasksById', Type.Object({ items: tasks, ...byIds }, { additionalProperties: false }))

const toChanges = (job: TSchema) => Type.Object({
  items: Type.Array(Type.Object({
    cursor: Type.String({ description: 'The place after this item.' }),
    jobId: Type.String(),
    version: Type.Integer({ minimum: 1, description: 'The versions of one job never fall.' }),
    job
  }, { additionalProperties: false })),
  cursor: Type.String({ description: 'The `since` of the next request.' }),
  hasMore: Type.Boolean({ description: 'Whether there may be more changes already: ask again at once.' })
}, { additionalProperties: false })

// Not by reference: in OpenAPI 3.0 a reference cannot be nullable.
const orGone = ({ $id: _, ...job }: TSchema) =>
  ({ ...Nullable(job as TSchema), description: 'As in a list; null: the job is gone, or is no longer for this token.' })
const JobChanges = { ...toChanges(orGone(JobStatus)), $id: 'JobChanges' }
const TaskChanges = { ...toChanges(orGone(TaskData)), $id: 'TaskChanges' }

const FieldErrorSchema = Type.Object({
  field: Type.String({ description: 'Path of the field, like `input.format`; `body` for the whole body.' }),
  rule: Type.String(),
  message: Type.String()
}, { $id: 'FieldError' })

const ErrorCode = StringEnum(Object.keys(catalogue) as FailureCode[], {
  $id: 'ErrorCode', description: 'Which error it is. Later versions may add codes.'
})

const code = Type.Unsafe<FailureCode>(Type.Ref('ErrorCode'))

/** An error outside `/api/jobs` and `/api/sanitize` (RFC 9457). */
export const Problem = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  instance: Type.String({ description: 'The path of the request.' }),
  code,
  jobStatus: Type.Optional(Type.String()),
  expiredAt: Type.Optional(Time),
  offset: Type.Optional(Type.Integer({ description: 'The offset of the next bytes of the result.' })),
  errors: Type.Optional(Type.Array(Type.Unsafe<Static<typeof FieldErrorSchema>>(Type.Ref('FieldError'))))
}, { $id: 'Problem' })
export type Problem = Static<typeof Problem>

/** An error under `/api/jobs` and `/api/sanitize`. */
export const TaskError = Type.Object({
  success: Type.Literal(false),
  error: Type.Object({
    code,
    message: Type.String(),
    details: Type.Optional(Type.Object({
      jobStatus: Type.Optional(Type.String()),
      expiredAt: Type.Optional(Time),
      offset: Type.Optional(Type.Integer({ description: 'The offset of the next bytes of the result.' })),
      errors: Type.Optional(Type.Array(Type.Unsafe<Static<typeof FieldErrorSchema>>(Type.Ref('FieldError'))))
    }))
  })
}, { $id: 'TaskError' })
export type TaskError = Static<typeof TaskError>

/** The schemas that routes refer to by name. */
export const namedSchemas: readonly TSchema[] = [
  JobStatus, TaskStatus, JobPage, JobsById, TaskPage, TasksById, JobChanges, TaskChanges, FieldErrorSchema, ErrorCode,
  Problem, TaskError
]
