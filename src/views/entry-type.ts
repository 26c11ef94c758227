import type { StatusEntry } from '../job/status-entry.ts'

const typeText = /"(?:[^"\\]|\\.)*"|null/y

/**
 * The type of a job that can be shown; null if it has none. It is read from the ready-made body of the task view, where
 * it follows the id: as a field of its own every cached entry would be longer for it.
 */
export const typeOfEntry = ({ jobId, taskBody }: StatusEntry): string | null => {
  typeText.lastIndex = `{"success":true,"data":{"taskId":"${jobId}","type":`.length
  return JSON.parse(typeText.exec(taskBody)?.[0] ?? 'null') as string | null
}
