import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import type { Test } from 'tap'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import { createViews } from '../../src/views/views.ts'
import type { JobLookup } from '../../src/job/job.ts'
import { createFixedEpoch, type Epoch } from '../../src/status/epoch/epoch.ts'
import { createExpose, createExposeEntry, type ExposeEntry } from '../../src/status/expose.ts'
import type { ReadSource } from '../../src/status/fill.ts'
import { createEntryLoader } from '../../src/status/load-entry.ts'
import { createReadStatus } from '../../src/status/read-status.ts'
import { createSingleFlight } from '../../src/status/single-flight.ts'
import { openStore } from '../store/open.ts'

/** The parts below HTTP on a real SQLite file, with what a test wants to put in their place. */
export type PartsOptions = {
  cache: StatusCache
  epoch?: Epoch
  /** Stands before the store's own find. */
  aroundFind?: (find: (jobId: string) => Promise<JobLookup>) => (jobId: string) => Promise<JobLookup>
  aroundExpose?: (expose: ExposeEntry) => ExposeEntry
}

export const openParts = async (t: Test, { cache, epoch = createFixedEpoch(() => 'e1'), aroundFind, aroundExpose }: PartsOptions) => {
  const databasePath = join(t.testdir(), 'jobs.db')
  const { database, store, transact, changeLog } = await openStore(t, databasePath)
  const views = createViews({ publicUrl: null, onInvalid: () => {} })
  const reads: ReadSource[] = []
  const find = aroundFind === undefined ? store.jobs.find : aroundFind(store.jobs.find)
  const expose = createExpose({ cache, epoch, views })
  const exposeEntry = createExposeEntry({ cache, epoch })
  const { readStatus, readMany } = createReadStatus({
    cache,
    epoch,
    loadEntry: createEntryLoader({ find, findVersion: store.jobs.findVersion, views }),
    exposeEntry: aroundExpose === undefined ? exposeEntry : aroundExpose(exposeEntry),
    uniqueId: randomUUID,
    onRead: source => { reads.push(source) },
    createSingleFlight
  })
  const foreign = new SqliteDatabase(databasePath)
  t.teardown(() => { foreign.close() })
  return {
    database,
    databasePath,
    transact,
    store,
    changeLog,
    expose,
    readStatus,
    readMany,
    reads,
    /** Runs SQL as another program would. */
    sql: (text: string) => { foreign.exec(text) },
    /** Commits the next percent of job-1, and tells the new version. */
    advance: (percent: number): number => {
      foreign.exec(`UPDATE JobExecutionLog SET progressPercent = ${percent} WHERE jobId = 'job-1'`)
      return foreign.prepare("SELECT version FROM JobExecutionLog WHERE jobId = 'job-1'").pluck().get() as number
    }
  }
}

/** A place where a test can hold a call and let it go. */
export const createGate = () => {
  let isShut = false
  let open = () => {}
  let opened = Promise.resolve()
  let arrived = () => {}
  let arrival = new Promise<void>(resolve => { arrived = resolve })
  return {
    shut: () => {
      isShut = true
      opened = new Promise(resolve => { open = resolve })
      arrival = new Promise(resolve => { arrived = resolve })
    },
    open: () => {
      isShut = false
      open()
    },
    /** Resolves when a call stands at the shut gate. */
    reached: async () => { await arrival },
    pass: async () => {
      if (!isShut) return
      arrived()
      await opened
    }
  }
}
