import { type CompiledQuery, type Kysely, sql } from 'kysely'
import t from 'tap'
import { runGroup } from '../../../src/store/postgres/connection/group.ts'
import type { Tx } from '../../../src/store/store.ts'
import type { Tables } from '../../../src/store/tables.ts'
import { endAttempt, findEndReport, findRun, insertAttempt } from '../../../src/store/tx/runs/attempts.ts'
import { nextAvailable } from '../../../src/store/tx/runs/available.ts'
import { beginRun } from '../../../src/store/tx/runs/begin-run.ts'
import { claimCallbacks, countPendingQuery, dueCallbacksQuery, pendingQueuesQuery } from '../../../src/store/tx/callbacks.ts'
import { pruneIdempotencyKeys } from '../../../src/store/tx/idempotency.ts'
import { deleteJob, findJob, lockAndFindJob, lockJob, updateJob } from '../../../src/store/tx/jobs.ts'
import { dequeue, findQueueItem, findStuck, setLease, setLeaseEnd } from '../../../src/store/tx/runs/queue.ts'
import { discardChunks, resultSize } from '../../../src/store/tx/results.ts'
import {
  dueIdempotencyKeys, dueOrphans, dueRecords, dueResults, dueTombstones, findDueResults, pruneOrphans, pruneRecords,
  pruneTombstones
} from '../../../src/store/tx/retention.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { lease } from '../conformance/store-under-test.ts'
import { runningJob } from '../jobs.ts'
import { openStore } from './open.ts'

const server = await startPostgres(t, ['autovacuum=off'])

// As many of everything, none of which is due but one in a thousand.
const count = 10_000
const series = `generate_series(1, ${count}) AS n`
const due = (of: string, otherwise: string) => `CASE WHEN n % 1000 = 0 THEN ${of} ELSE ${otherwise} END`
const late = "'2090-01-01T00:00:00.000Z'"
const early = "'2020-01-01T00:00:00.000Z'"

const fill = [
  `INSERT INTO JobTombstone (jobId, status, version, expiredAt) SELECT 'dead-' || n, 'Failed', 1, ${due(early, late)} FROM ${series}`,
  `INSERT INTO JobExecutionLog (jobId, status, submittedBy, endTime, expiresAt, tenant)
    SELECT 'j-' || n, CASE n % 2 WHEN 0 THEN 'Succeeded' ELSE 'Running' END, CASE n % 4 WHEN 0 THEN 'me' END,
      ${due(early, late)}, ${due(early, late)}, 'acme' FROM ${series}`,
  `INSERT INTO JobQueue (jobId, type, tenant, maxAttempts, availableAt, leaseToken, leaseHolder, leaseExpiresAt, deadlineAt,
      cancelDueAt, seq)
    SELECT 'j-' || n, CASE WHEN n = 500 THEN 'rare' ELSE 'report' END, 'acme', 1, n,
      CASE WHEN n % 2 = 1 THEN 'l' END, 'w', CASE WHEN n % 2 = 1 THEN ${due('1', '9000000000000')} END,
      ${due('1', '9000000000000')}, ${due('1', '9000000000000')}, n FROM ${series}`,
  `INSERT INTO JobAttempt (jobId, run, attempt, leaseHash, startedAt) SELECT 'j-' || n, 1, 1, 'h', 0 FROM ${series}`,
  `INSERT INTO JobInput (jobId, input, access) SELECT 'j-' || n, '', '' FROM ${series}`,
  `INSERT INTO JobResultChunk (jobId, startOffset, bytes) SELECT 'j-' || n, 0, '' FROM ${series}`,
  `INSERT INTO OrphanedBytes (holder, id, forgetAt) SELECT 'JobResultChunk', 'x-' || n, ${due('1', '9000000000000')} FROM ${series}`,
  `INSERT INTO IdempotencyKey (tenant, key, requestHash, jobId, createdAt)
    SELECT 'acme', n::text, '', '', ${due('1', '9000000000000')} FROM ${series}`,
  `INSERT INTO JobCallback (id, jobId, tenant, url, host, addedAt, state, nextTryAt)
    SELECT 'c-' || n, 'j-' || n, 'acme', '', 'h-' || n % 3, 0, 'pending', ${due('1', '9000000000000')} FROM ${series}`
]

const at = Date.now()
const any = { types: ['report', 'rare', 'none'], tenant: null }
const run = (query: { compile: () => Parameters<Kysely<Tables>['executeQuery']>[0] }) => (tx: Tx) => tx.executeQuery(query.compile())

let inserted = 0

// What was read is counted after the statement, so the transaction goes on.
const afterwards = (tx: Tx): Tx => new Proxy(tx, {
  get: (target, name) => {
    if (name === 'executeQuery') {
      return (query: CompiledQuery) => target.executeQuery({ ...query, isLast: false } as CompiledQuery)
    }
    const value: unknown = Reflect.get(target, name, target)
    return typeof value === 'function' ? value.bind(target) as unknown : value
  }
})

const works: Record<string, (tx: Tx) => Promise<unknown>> = {
  findJob: tx => findJob(tx, 'j-3'),
  'findJob of a tombstone': tx => findJob(tx, 'dead-3'),
  'findJob of none': tx => findJob(tx, 'none'),
  lockJob: tx => lockJob(tx, 'j-3'),
  updateJob: tx => updateJob(tx, runningJob('j-3')),
  beginRun: tx => beginRun(afterwards(tx), runningJob('j-6'), {
    jobId: 'j-6', attempt: 1000 + ++inserted, leaseHash: 'h', startedAt: 0
  }, 0, lease('l')),
  insertAttempt: tx => insertAttempt(tx, { jobId: `j-${++inserted}`, attempt: 1, leaseHash: 'h', startedAt: 0 }, 100),
  lockAndFindJob: tx => lockAndFindJob(tx, 'j-3'),
  deleteJob: tx => deleteJob(tx, 'j-3'),
  nextAvailable: tx => nextAvailable(tx, any, at),
  'nextAvailable of a tenant': tx => nextAvailable(tx, { ...any, tenant: 'acme' }, at),
  'nextAvailable of another tenant': tx => nextAvailable(tx, { ...any, tenant: 'other' }, at),
  'findStuck by lease': tx => findStuck(tx, { leaseExpiredAt: at }, 10),
  'findStuck by deadline': tx => findStuck(tx, { deadlineAt: at }, 10),
  'findStuck by cancellation': tx => findStuck(tx, { cancelDueAt: at }, 10),
  findQueueItem: tx => findQueueItem(tx, 'j-3'),
  setLease: tx => setLease(tx, 'j-4', lease('l')),
  setLeaseEnd: tx => setLeaseEnd(tx, 'j-3', at),
  dequeue: tx => dequeue(tx, 'j-3'),
  endAttempt: tx => endAttempt(tx, 'j-3', { outcome: 'released', failure: null }, null, at),
  findRun: tx => findRun(tx, 'j-3', 0),
  findEndReport: tx => findEndReport(tx, 'j-3', 'h'),
  resultSize: tx => resultSize(tx, 'j-3'),
  discardChunks: tx => discardChunks(tx, 'j-3', 10),
  claimCallbacks: tx => claimCallbacks(tx, { host: 'h-1', tenant: 'acme' }, at, 5, { token: 'l', endsAt: at }),
  dueCallbacks: tx => run(dueCallbacksQuery(tx, at))(tx),
  pendingQueues: tx => tx.executeQuery(pendingQueuesQuery(tx, at, { host: '', tenant: '' }, 10)),
  countPending: tx => run(countPendingQuery(tx, 20))(tx),
  findDueResults: tx => findDueResults(tx, at, 10),
  dueResults: tx => run(dueResults(tx, new Date(at).toISOString(), 1))(tx),
  'dueRecords of ours': tx => run(dueRecords(tx, 'ours', at, 1))(tx),
  'dueRecords of others': tx => run(dueRecords(tx, 'foreign', at, 1))(tx),
  dueTombstones: tx => run(dueTombstones(tx, new Date(at).toISOString(), 1))(tx),
  dueOrphans: tx => run(dueOrphans(tx, at))(tx),
  dueIdempotencyKeys: tx => run(dueIdempotencyKeys(tx, at))(tx),
  pruneRecords: tx => pruneRecords(tx, 'ours', at, 5, null),
  'pruneRecords, further on': tx => pruneRecords(tx, 'foreign', at, 5, { endedMs: 1, seq: 1 }),
  pruneTombstones: tx => pruneTombstones(tx, at, 5),
  pruneOrphans: tx => pruneOrphans(tx, at, 5),
  pruneIdempotencyKeys: tx => pruneIdempotencyKeys(tx, at, 5)
}
const readMax = 150

// Of several indexes of an empty table, these may take another than theirs, until the table is counted again.
const chooseAnyIndex = ['nextAvailable', 'nextAvailable of a tenant', 'findStuck by cancellation', 'pendingQueues']

/** Rows that this session has read, those of statements in triggers included. */
const countRead = async (tx: Tx): Promise<number> => {
  const { rows: [row] } = await sql<{ count: number }>`
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int AS count FROM pg_stat_xact_user_tables`
    .execute(tx)
  return row?.count ?? 0
}

t.test('every read and every batch finds its rows by an index, most of them even where planned for empty tables', async t => {
  const { url, database: { writer } } = await openStore(t, server)
  const outside = (statement: string) => server.sql(statement, new URL(url).pathname.slice(1))
  const undone = new Error('undone')
  const readBy = async (work: (tx: Tx) => Promise<unknown>) => {
    let read = Infinity
    await writer.transaction().execute(async tx => {
      const before = await countRead(tx)
      await work(tx)
      read = await countRead(tx) - before
      throw undone
    }).catch((error: unknown) => { if (error !== undone) throw error })
    return read
  }
  // Works that do the same share their statements.
  const readInGroup = async (work: (tx: Tx) => Promise<unknown>) => {
    let read = 0
    await runGroup(writer, [1, 2].map(() => async tx => {
      const before = await countRead(tx)
      await work(tx)
      read = await countRead(tx) - before
      throw undone
    }), () => {}).catch((error: unknown) => { if (error !== undone) throw error })
    return read
  }
  await outside('VACUUM ANALYZE')
  for (const work of Object.values(works)) {
    await readBy(work)
    await readInGroup(work)
  }
  for (const statement of fill) await outside(statement)
  for (const [name, work] of Object.entries(works).filter(([name]) => !chooseAnyIndex.includes(name))) {
    const read = Math.max(await readBy(work), await readInGroup(work))
    t.ok(read <= readMax, `${name}, planned for empty tables, reads ${read} rows`)
  }
  await outside('ANALYZE')
  for (const [name, work] of Object.entries(works)) {
    const read = Math.max(await readBy(work), await readInGroup(work))
    t.ok(read <= readMax, `${name} reads ${read} rows`)
  }
})
