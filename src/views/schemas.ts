import { type Static, Type } from '@sinclair/typebox'
import { jobIdLengthMax, jobIdPattern, recordStatuses } from '../job/job.ts'
import { Nullable, StringEnum } from '../job/schema-kinds.ts'

/*
 * The schemas of both views of a job. One with an $id is a named schema of the OpenAPI document.
 */

const Time = Type.String({ format: 'date-time', description: 'ISO 8601, UTC' })

const JobId = Type.String({ pattern: jobIdPattern, maxLength: jobIdLengthMax })

const Progress = Type.Object({
  percent: Type.Number({ minimum: 0, maximum: 100 }),
  done: Nullable(Type.Number()),
  total: Nullable(Type.Number()),
  stage: Nullable(Type.String()),
  message: Nullable(Type.String()),
  etaSeconds: Nullable(Type.Integer({ minimum: 0 }))
})

const Failure = Type.Object({
  code: Type.String({ minLength: 1 }),
  message: Type.String(),
  details: Type.Optional(Type.Unknown({ description: 'What the worker reported, with every digit of its numbers.' }))
})

/** The v1 view: exactly six fields. */
export const JobStatus = Type.Object({
  jobId: JobId,
  status: StringEnum(recordStatuses),
  startTime: Type.String({
    format: 'date-time',
    description: 'When the job was accepted while it is first queued, then when the latest run began. ISO 8601, UTC.'
  }),
  endTime: Nullable(Time),
  resultUrl: Nullable(Type.String({ description: 'Where the result is, once the job succeeded with one.' })),
  errorDetails: Nullable(Failure)
}, { $id: 'JobStatus', additionalProperties: false })
export type JobStatus = Static<typeof JobStatus>

/** The states of a job, as the task view names them. */
export const taskStatuses = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const

/** The data of the task view. */
export const TaskData = Type.Object({
  taskId: JobId,
  type: Nullable(Type.String()),
  status: StringEnum(taskStatuses),
  isTerminal: Type.Boolean(),
  isSuccess: Type.Boolean({ description: 'Whether the job worked; `success` beside `data` says that this call did.' }),
  progress: Progress,
  attempt: Type.Integer({ minimum: 0, description: 'Runs so far; 0 before the first.' }),
  cancelRequested: Type.Boolean({ description: 'Whether the job was asked to stop.' }),
  createdAt: Time,
  startedAt: Nullable(Time),
  finishedAt: Nullable(Time),
  expiresAt: Nullable(Type.String({
    format: 'date-time', description: 'When the stored result is due to be removed.'
  })),
  expiredAt: Nullable(Type.String({ format: 'date-time', description: 'When it was removed.' })),
  resultAvailable: Type.Boolean(),
  partialResultAvailable: Type.Boolean({
    description: 'Whether the running attempt has sent bytes of its result already.'
  }),
  resultUrl: Nullable(Type.String()),
  version: Type.Integer({ minimum: 1 }),
  pollAfterMs: Nullable(Type.Integer({
    minimum: 1, description: 'Ask again after this many milliseconds; null when nothing will change.'
  })),
  failure: Nullable(Failure),
  result: Type.Unknown({ description: 'A JSON result of at most 16 KiB, once succeeded; else null.' })
}, { additionalProperties: false })
export type TaskData = Static<typeof TaskData>

/** The task view: the data in the envelope of `/api/jobs`. */
export const TaskStatus = Type.Object({
  success: Type.Literal(true),
  data: Type.Object({
    ...TaskData.properties,
    observedAt: Type.Optional(Type.String({
      format: 'date-time', description: 'With `fresh` only: the time of the response.'
    }))
  }, { additionalProperties: false })
}, { $id: 'TaskStatus', additionalProperties: false })
