import type { components } from './openapi.ts'
import { type StateOptions, stream } from './stream.ts'
import type { Transport } from './transport.ts'
import { type Task, taskPath } from './wait-for.ts'

/** A state of a job; `gone`: it was erased, or is no longer for this token. */
export type JobEvent = { kind: 'status', task: Task } | { kind: 'gone' }

/** The states of a job: the current one, and each newer one. Ends after the last. */
export async function * events (
  transport: Transport, jobId: string, options: StateOptions
): AsyncGenerator<JobEvent, void, void> {
  for await (const { event, data } of stream(transport, taskPath(jobId, '/events'), options)) {
    if (event === 'gone') return yield { kind: 'gone' }
    if (event !== 'status') continue
    const { data: task } = JSON.parse(data) as components['schemas']['TaskStatus']
    yield { kind: 'status', task }
    if (task.isTerminal) return
  }
}
