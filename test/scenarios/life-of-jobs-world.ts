import { copyFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import SqliteDatabase from 'better-sqlite3'
import { sql } from 'kysely'
import type { StatusEntry } from '../../src/job/status-entry.ts'
import { createPruneTasks } from '../../src/background/prune-tasks.ts'
import { createPruner } from '../../src/background/pruner.ts'
import { createRelay } from '../../src/background/relay.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import type { JobLookup } from '../../src/job/job.ts'
import { createFixedEpoch } from '../../src/status/epoch/epoch.ts'
import { createInvalidate } from '../../src/status/expose.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import type { Claim } from '../../src/write/runs/claim-job.ts'
import { createParts } from '../helpers/parts.ts'
import { storeOn } from '../store/open.ts'
import {
  type Model, retention as retentionTimes, type Shown, shownOfModel, shownOfStore
} from './life-of-jobs-model.ts'

export const iso = (ms: number) => new Date(ms).toISOString()

/** A new database whose tombstones carry the time of the test. */
export const makeTemplate = async (path: string): Promise<void> => {
  const database = openDatabase(path)
  await migrate(database.writer)
  await sql.raw('CREATE TABLE TestClock (at TEXT NOT NULL)').execute(database.writer)
  await sql.raw("INSERT INTO TestClock VALUES ('')").execute(database.writer)
  await sql.raw(`CREATE TRIGGER TestTombstone AFTER INSERT ON JobTombstone BEGIN
    UPDATE JobTombstone SET expiredAt = (SELECT at FROM TestClock) WHERE jobId = NEW.jobId; END`).execute(
    database.writer
  )
  await database.close()
}

/** Makes the cache of a process; the epochs are named so that no two of them meet. */
export type MakeCache = () => StatusCache

/** All parts of one process, from its opening to its close. */
const openProcess = async (
  path: string, cache: StatusCache, epochName: string, now: () => number, ids: { job: number, other: number },
  pruneForeignRows: boolean, onTransition: (event: string) => void
) => {
  const database = openDatabase(path)
  await sql.raw('PRAGMA synchronous = OFF').execute(database.writer)
  const store = storeOn(database)
  const { transact, changes, retention } = store
  let gaps = 0
  const epoch = createFixedEpoch(() => `${epochName}-${gaps}`)
  const commands = createParts(store, {
    cache,
    epoch,
    now,
    nextId: () => ++ids.other,
    nextJobId: () => `job-${++ids.job}`,
    onTransition: (_job, event) => { onTransition(event) }
  })
  const relay = createRelay({
    follower: await changes.follow(),
    invalidate: createInvalidate({ cache, epoch }),
    onChanges: () => {},
    onGap: () => {
      gaps++
      epoch.trip(epoch.view(), 'gap')
    }
  })
  const prune = createPruner({
    tasks: createPruneTasks({
      transact,
      changes,
      retention,
      expireResults: commands.expireResults,
      now,
      idempotencyKeyKeptMs: 86_400_000,
      recordRetentionMs: retentionTimes.recordMs,
      tombstoneRetentionMs: retentionTimes.tombstoneMs,
      changeRetentionMs: 3_600_000,
      pruneForeignRows
    }),
    onPruned: () => {},
    isStopping: () => false,
    monotonicNow: () => performance.now()
  })
  return { ...commands, database, store, relay, prune }
}

// Whatever the database holds must be held by something, or found by the pruner; and what is held, never by both.
const strays: Record<string, string> = {
  'a queue item without a record': 'SELECT jobId FROM JobQueue EXCEPT SELECT jobId FROM JobExecutionLog',
  'an input without a record': 'SELECT jobId FROM JobInput EXCEPT SELECT jobId FROM JobExecutionLog',
  'a queue item without an input': 'SELECT jobId FROM JobQueue EXCEPT SELECT jobId FROM JobInput',
  'input bytes without an owner': "SELECT inputId FROM JobInputChunk EXCEPT SELECT inputId FROM JobInput EXCEPT SELECT id FROM OrphanedBytes WHERE holder = 'JobInputChunk'",
  'input bytes of a job that the pruner would take': "SELECT inputId FROM JobInput INTERSECT SELECT id FROM OrphanedBytes WHERE holder = 'JobInputChunk'",
  'result bytes without an owner': "SELECT jobId FROM JobResultChunk EXCEPT SELECT jobId FROM JobResult EXCEPT SELECT jobId FROM JobQueue EXCEPT SELECT id FROM OrphanedBytes WHERE holder = 'JobResultChunk'",
  'result bytes of a job that the pruner would take': "SELECT jobId FROM (SELECT jobId FROM JobResult UNION SELECT jobId FROM JobQueue) INTERSECT SELECT id FROM OrphanedBytes WHERE holder = 'JobResultChunk'",
  'facts of a result that is not there': "SELECT jobId FROM JobResult EXCEPT SELECT jobId FROM JobExecutionLog WHERE status = 'Succeeded' AND resultExpiredAt IS NULL",
  'an event of no job': 'SELECT jobId FROM SanitizationEvent EXCEPT SELECT jobId FROM JobExecutionLog',
  'a job that is alive and dead': 'SELECT jobId FROM JobExecutionLog INTERSECT SELECT jobId FROM JobTombstone',
  'two runs with one token': 'SELECT leaseToken FROM JobQueue WHERE leaseToken IS NOT NULL GROUP BY leaseToken HAVING count(*) > 1'
}

const versionOf = (lookup: JobLookup): number => {
  switch (lookup.kind) {
    case 'job': return lookup.job.version
    case 'tombstone': return lookup.tombstone.version
    case 'invalid': return lookup.version
    case 'absent': return 0
  }
}

/** The service under test, one process after the other on one database, and what has been seen of it. */
export const openWorld = async (
  template: string, path: string, makeCache: MakeCache, model: Model, name: string, onEvent: (event: string) => void
) => {
  copyFileSync(template, path)
  const now = () => model.now
  const ids = { job: 0, other: 0 }
  let processes = 0
  const open = () => openProcess(path, makeCache(), `${name}-${++processes}`, now, ids, model.pruneForeignRows, onEvent)
  let service = await open()
  const foreign = new SqliteDatabase(path)
  foreign.pragma('synchronous = OFF')
  const setClock = foreign.prepare('UPDATE TestClock SET at = ?')
  const strayQueries = Object.entries(strays).map(([what, query]) => ({
    what, statement: foreign.prepare<[], string>(query).pluck()
  }))
  const claims: Claim[] = []
  const known = new Map<string, {
    version: number, shown: Shown, lookup: JobLookup, floor: number, isRelayed: boolean
  }>()
  let versionMax = 0
  let steps = 0

  const fail = (jobId: string, what: string, ...values: unknown[]): never => {
    throw new Error(`${jobId} ${what}: ${values.map(value => JSON.stringify(value)).join(' ')}`)
  }

  const same = (a: unknown, b: unknown): boolean => isDeepStrictEqual(a, b)

  // The record against the model, and its version against what was seen of it.
  const checkRecord = async (jobId: string, isForeign: boolean) => {
    const lookup = await service.store.jobs.find(jobId)
    const shown = shownOfStore(lookup)
    const expected = shownOfModel(model, jobId)
    if (!same(shown, expected)) fail(jobId, 'is not as expected', shown, expected)
    const before = known.get(jobId)
    const version = versionOf(lookup)
    const isChanged = !same(before?.shown ?? { kind: 'absent' }, shown)
    const isMoved = version !== (before?.version ?? 0)
    if (isChanged && lookup.kind !== 'absent' && version <= versionMax) {
      fail(jobId, 'changed without a new version', version, versionMax)
    }
    // Others may write what is not shown, such as the percent of a job that is whole.
    if (isMoved && !isChanged && !isForeign) fail(jobId, 'has a new version without a change', version, before?.version)
    const isRelayed = isMoved ? !isForeign : before?.isRelayed ?? true
    known.set(jobId, { version, shown, lookup, floor: lookup.kind === 'absent' ? 0 : before?.floor ?? 0, isRelayed })
  }

  // The response of a client against the record.
  const checkRead = async (jobId: string, floor: number) => {
    const seen = known.get(jobId)
    if (seen === undefined) return
    const entry = await service.readStatus(jobId, floor)
    await checkEntry(jobId, entry)
  }

  const checkEntry = async (jobId: string, entry: StatusEntry) => {
    const seen = known.get(jobId) ?? fail(jobId, 'is not known')
    if (entry.version < seen.floor && entry.state !== 'absent') fail(jobId, 'went back', entry.version, seen.floor)
    if (seen.isRelayed || entry.version === seen.version) {
      const expected = service.toEntry(seen.lookup)
      if (!same(entry, expected)) fail(jobId, 'is shown wrongly', entry, expected)
    }
    if (seen.lookup.kind !== 'absent') seen.floor = Math.max(seen.floor, entry.version)
  }

  return {
    model,
    claims,
    steps: () => steps,
    service: () => service,
    foreign: (text: string, ...values: unknown[]) => { foreign.prepare(text).run(...values) },
    setClock: () => { setClock.run(iso(model.now)) },
    restart: async () => {
      await service.database.close()
      service = await open()
      for (const seen of known.values()) seen.isRelayed = true
    },
    relay: async () => {
      await service.relay()
      for (const seen of known.values()) seen.isRelayed = true
    },
    checkEntry,
    onEvent,
    /** After every step. `isForeign`: its changes are brought to the cache by the relay. */
    check: async (isForeign: boolean) => {
      steps++
      // Of a job that is still to come, too: that it is absent may be known.
      for (const jobId of new Set([...known.keys(), ...model.rows.keys(), `job-${ids.job + 1}`])) {
        await checkRecord(jobId, isForeign)
      }
      versionMax = Math.max(versionMax, ...[...known.values()].map(({ version }) => version))
      for (const { what, statement } of strayQueries) {
        const stray = statement.get()
        if (stray !== undefined) fail(stray, what)
      }
      // Half of them, so that cells are full as well as empty when the next step comes.
      const ids2 = [...known.keys()].filter((_, index) => (index + steps) % 2 === 0)
      for (const jobId of ids2) await checkRead(jobId, 0)
      const entries = await service.readMany(ids2)
      for (const [index, jobId] of ids2.entries()) await checkEntry(jobId, entries[index] ?? fail(jobId, 'is missing'))
    },
    close: async () => {
      foreign.close()
      await service.database.close()
    }
  }
}

export type World = Awaited<ReturnType<typeof openWorld>>
