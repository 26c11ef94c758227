import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type ConnectionOptions, type JobType, Queue, QueueEvents, QueueEventsProducer } from 'bullmq'
import { createPending, type Noted, type Pending } from './pending.ts'
import { type RowOptions, toEndedRow, toJobId, toPrefix, toRow, toRowId } from './rows.ts'
import type { Table } from './table.ts'

/*
 * Shows the jobs of a BullMQ queue in the table of the job status service.
 *
 * An event says which job has changed, and the state is then read from BullMQ, so that events which come twice or late
 * do no harm. Only the end of a job that BullMQ removed with it (removeOnComplete, removeOnFail) comes from its event.
 *
 * A mirror that starts reads all events that BullMQ still has (some 10,000, see streams.events.maxLen), so it needs no
 * memory of its own. Then it reads all jobs, and removes the rows that have not ended and whose job is gone.
 */

export type MirrorOptions = RowOptions & {
  connection: ConnectionOptions
  table: Table
  /** How often rows that have not ended are compared with BullMQ, which sends no event for the jobs of drain(). */
  sweepMs?: number
  onError?: (error: unknown) => void
}

export type Mirror = {
  /** Compares now. Resolves once everything that had happened before the call is shown. */
  sweep: () => Promise<void>
  close: () => Promise<void>
}

const pageSize = 1000
const eventsKept = 10_000
const changes = ['waiting', 'delayed', 'active', 'progress', 'waiting-children', 'stalled'] as const
const allStates: JobType[] = [
  'active', 'waiting', 'prioritized', 'delayed', 'waiting-children', 'completed', 'failed'
]

type Names = Map<string, string>

const createShow = (queue: Queue, names: Names, { onError = () => {}, table, ...options }: MirrorOptions) =>
  async (id: string, { end, isRemoved }: Noted): Promise<void> => {
    const state = await queue.getJobState(id)
    const job = state === 'unknown' ? undefined : await queue.getJob(id)
    if (job === undefined && end === null) {
      if (isRemoved) await table.remove(toRowId(options.queue, id))
      return
    }
    const row = job === undefined && end !== null
      ? toEndedRow(options, id, names.get(id) ?? null, end)
      : job !== undefined && toRow(options, id, job, state)
    if (row === false) return
    const shown = await table.write(row)
    names.delete(id)
    if (shown === row.status) return
    const cause = 'was its id used again, or was it retried by hand?'
    onError(new Error(`${row.jobId} is ${row.status}, but has ended as ${shown} and stays so: ${cause}`))
  }

/** Notes the jobs that events name. */
const listen = (events: QueueEvents, names: Names, note: Pending['note']): void => {
  // The id of an event begins with its time.
  const timeOf = (eventId: string): number => Number(eventId.split('-', 1)[0])
  for (const change of changes) events.on(change, ({ jobId }: { jobId: string }) => { note(jobId) })
  events.on('added', ({ jobId, name }) => {
    names.set(jobId, name)
    note(jobId)
  })
  events.on('completed', ({ jobId, returnvalue }, id) => {
    note(jobId, { end: { status: 'Succeeded', endedAt: timeOf(id), returnValue: returnvalue as unknown } })
  })
  events.on('failed', ({ jobId, failedReason }, id) => {
    note(jobId, { end: { status: 'Failed', endedAt: timeOf(id), reason: failedReason } })
  })
  events.on('removed', ({ jobId }) => { note(jobId, { isRemoved: true }) })
}

/** Waits for all events that are there: one of its own, which BullMQ delivers in order, comes after them. */
const createMarkers = (events: QueueEvents, producer: QueueEventsProducer) => {
  const eventName = 'job-status-mirror'
  const waiting = new Map<string, () => void>()
  // BullMQ knows the names of its own events only.
  events.on(eventName as 'paused', args => { waiting.get((args as { marker: string }).marker)?.() })
  return {
    arrived: async (): Promise<void> => {
      const marker = randomUUID()
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting.set(marker, resolve)
      await producer.publishEvent({ eventName, marker }, eventsKept)
      await promise
      waiting.delete(marker)
    },
    close: () => { for (const resolve of waiting.values()) resolve() }
  }
}

const noteAll = async (queue: Queue, note: Pending['note']): Promise<void> => {
  for (let start = 0; ; start += pageSize) {
    const jobs = await queue.getJobs(allStates, start, start + pageSize - 1, true)
    // A job that was removed meanwhile is undefined.
    for (const job of jobs) if (job?.id !== undefined) note(job.id)
    if (jobs.length === 0) return
  }
}

/** Starts to show the jobs of a queue; resolves once they are shown as they are. Run one mirror for each queue. */
export const startMirror = async (options: MirrorOptions): Promise<Mirror> => {
  const { queue: name, connection, table, sweepMs = 60_000, onError = () => {} } = options
  const queue = new Queue(name, { connection, skipMetasUpdate: true })
  const producer = new QueueEventsProducer(name, { connection })
  const events = new QueueEvents(name, { connection, lastEventId: '0', autorun: false })
  queue.on('error', onError)
  producer.on('error', onError)
  events.on('error', onError)
  const names: Names = new Map()
  const { note, run, isEmpty, close } = createPending(createShow(queue, names, options), onError)
  const markers = createMarkers(events, producer)
  const closing = new AbortController()
  listen(events, names, note)
  let needsAll = true
  // While the connection was away, BullMQ may have dropped events.
  events.on('ioredis:close', () => { needsAll = true })

  const sweep = async (): Promise<void> => {
    if (needsAll) {
      needsAll = false
      await noteAll(queue, note)
    }
    const gone: string[] = []
    for (const rowId of await table.unfinished(toPrefix(name))) {
      const id = toJobId(name, rowId)
      if (await queue.getJobState(id) === 'unknown') gone.push(id)
      else note(id)
    }
    // If such a job has ended, it did so before it was gone: its event is there, and ends its row.
    await markers.arrived()
    await isEmpty()
    if (closing.signal.aborted) return
    for (const id of gone) note(id, { isRemoved: true })
    await isEmpty()
    names.clear()
  }
  const sweepAgain = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await delay(sweepMs, undefined, { signal: closing.signal }).catch(() => {})
      if (!closing.signal.aborted) await sweep().catch(onError)
    }
  }

  events.run().catch(onError)
  // What events say of one job is put together before it is shown: it may be gone, and its end the last of them.
  await markers.arrived()
  const showing = run()
  await sweep()
  const sweeping = sweepAgain()
  return {
    sweep,
    close: async () => {
      closing.abort()
      markers.close()
      close()
      await Promise.all([showing, sweeping])
      await Promise.all([queue.close(), producer.close(), events.close()])
    }
  }
}
