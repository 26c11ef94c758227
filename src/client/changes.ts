import { JobServiceError, parse, toError } from './errors.ts'
import { createLongPoll, pollMsDefault } from './long-poll.ts'
import type { components, operations } from './openapi.ts'
import { ask, type CallOptions, hintOf, type Transport } from './transport.ts'
import type { Task } from './wait-for.ts'

/** Which jobs: as the parameters of `GET /api/jobs`. */
export type ListFilter = Omit<NonNullable<operations['listTasks']['parameters']['query']>, 'ids' | 'cursor' | 'limit' | 'wait'>

type Query = Record<string, string | number | undefined>

// JSON leaves out what is undefined.
const toQuery = (query: Query): string =>
  new URLSearchParams(JSON.parse(JSON.stringify(query)) as Record<string, string>).toString()

const pageLimit = 200

/** Where the changes after a page can be followed from, and its jobs. */
type Page = { changesCursor: string, items: Task[] }

async function * pages (
  transport: Transport, filter: ListFilter, signal: AbortSignal | undefined
): AsyncGenerator<Page, void, void> {
  let cursor: string | undefined
  do {
    const query: string = toQuery({ ...filter, limit: pageLimit, cursor })
    const answer = await ask(transport, `/api/jobs?${query}`, { signal })
    const { data } = parse<components['schemas']['TaskPage']>(answer)
    yield { changesCursor: answer.headers.get('changes-cursor') ?? '', items: data.items }
    cursor = data.nextCursor ?? undefined
  } while (cursor !== undefined)
}

/** The jobs of a filter, newest first, without inline results. */
export async function * list (
  transport: Transport, { signal, patienceMs: _, ...filter }: ListFilter & CallOptions
): AsyncGenerator<Task, void, void> {
  for await (const { items } of pages(transport, filter, signal)) yield * items
}

/**
 * A step of a mirror of all jobs. `reset`: forget what you have, for a list follows. `job`: the job as it is now.
 * `gone`: it was removed, or is no longer for this token. `ready`: the list is complete. To go on later, keep the last
 * `cursor`: while a list is under way there is none.
 */
export type Change =
  | { kind: 'reset', cursor: null }
  | { kind: 'job', jobId: string, task: Task, cursor: string | null }
  | { kind: 'gone', jobId: string, cursor: string }
  | { kind: 'ready', cursor: string }

/** `since`: a cursor, or `now` for the changes from now on, without a list. */
export type ChangesOptions = CallOptions & { since?: string, type?: string }

const limitMax = 1000

async function * relist (transport: Transport, { type, signal }: ChangesOptions): AsyncGenerator<Change, string, void> {
  yield { kind: 'reset', cursor: null }
  let first = ''
  for await (const { changesCursor, items } of pages(transport, type === undefined ? {} : { type }, signal)) {
    // Taken before the first page was read, so that no change is missed.
    first ||= changesCursor
    for (const task of items) yield { kind: 'job', jobId: task.taskId, task, cursor: null }
  }
  yield { kind: 'ready', cursor: first }
  return first
}

const findHead = async (transport: Transport, signal: AbortSignal | undefined): Promise<string> =>
  parse<components['schemas']['TaskChanges']>(await ask(transport, '/api/events', { signal })).cursor

const isTooOld = (error: unknown): boolean => error instanceof JobServiceError && error.code === 'CURSOR_EXPIRED'

/** All jobs that the token may read, and then each change of them, by whatever program. Ends with the signal only. */
export async function * changes (
  transport: Transport, options: ChangesOptions
): AsyncGenerator<Change, never, void> {
  const { type, signal } = options
  const { sleep } = transport.platform
  const poll = createLongPoll(transport)
  const since = options.since === 'now' ? await findHead(transport, signal) : options.since
  let cursor = since ?? (yield * relist(transport, options))
  for (;;) {
    signal?.throwIfAborted()
    try {
      const answer = await poll(signal, seconds => ({
        path: `/api/events?${toQuery({ since: cursor, limit: limitMax, wait: seconds, type })}`
      }))
      const { status, headers, text, hasWaited } = answer
      if (status !== 200) throw toError(status, text)
      const page = parse<components['schemas']['TaskChanges']>(answer)
      for (const { jobId, job, cursor } of page.items) {
        yield job === null ? { kind: 'gone', jobId, cursor } : { kind: 'job', jobId, task: job, cursor }
      }
      cursor = page.cursor
      // Too many clients wait, or the process drains.
      if (page.items.length === 0 && !page.hasMore && !hasWaited) await sleep(hintOf(headers) || pollMsDefault, signal)
    } catch (error) {
      if (!isTooOld(error)) throw error
      cursor = yield * relist(transport, options)
    }
  }
}
