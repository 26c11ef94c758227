import { Type } from '@sinclair/typebox'
import { exampleCallbackId, exampleJobId } from './examples.ts'

/*
 * The path parameters of the routes. Each has an example, which the documentation page sends unless it is replaced.
 */

const id = (description: string, example = exampleJobId) => Type.String({ description, examples: [example] })

/** Of the routes of the v1 view. */
export const JobParams =
  Type.Object({ jobId: id('The id that the submission returned, or that another engine wrote.') })

/** Of the routes of one callback. */
export const CallbackParams = Type.Object({
  ...JobParams.properties, callbackId: id('The id of the callback, from the list.', exampleCallbackId)
})

/** Of the routes of the task view. */
export const TaskParams = Type.Object({ taskId: id('The jobId.') })
