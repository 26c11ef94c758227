import { endPosition, type Operation, toEnd, toPosition } from './history.ts'

/*
 * What a job in a response reveals, in either view.
 */

export type Revealed = Pick<Operation, 'version' | 'position' | 'positionMax' | 'end'>

export type TaskJob = { taskId: string, status: string, attempt: number, version: number, progress: { percent: number } }
export type V1Job = { jobId: string, status: string, errorDetails: { code: string } | null }

export const ofTask = ({ status, attempt, version, progress: { percent } }: TaskJob): Revealed => {
  const end = toEnd(status)
  return { version, position: end === null ? toPosition(status, attempt, percent) : endPosition, end }
}

/** This view has no version of its own; null where nothing else names it. */
export const ofV1 = ({ status, errorDetails }: V1Job, version: number | null): Revealed => {
  const end = errorDetails?.code === 'JOB_CANCELLED' ? 'cancelled' : toEnd(status.toLowerCase())
  return end === null
    ? { version, position: null, positionMax: endPosition - 1, end }
    : { version, position: endPosition, end }
}
