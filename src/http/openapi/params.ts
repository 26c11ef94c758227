import { Type } from '@sinclair/typebox'
import { exampleJobId } from './examples.ts'

/*
 * The path parameters of the routes. Each has an example, which the documentation page sends unless it is replaced.
 */

const id = (description: string) => Type.String({ description, examples: [exampleJobId] })

/** Of the routes of the v1 view. */
export const JobParams =
  Type.Object({ jobId: id('The id that the submission returned, or that another engine wrote.') })

/** Of the routes of the task view. */
export const TaskParams = Type.Object({ taskId: id('The jobId.') })
