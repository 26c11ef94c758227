import SqliteDatabase from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import t, { type Test } from 'tap'
import { createChangeLog } from '../../../src/store/sqlite/change-log.ts'
import type { Database } from '../../../src/store/sqlite/database.ts'
import { createRetentionReader } from '../../../src/store/sqlite/readers/retention-reader.ts'
import { nextAvailable } from '../../../src/store/tx/runs/available.ts'
import { claimCallbacks, pendingQueuesQuery } from '../../../src/store/tx/callbacks.ts'
import { findDueResults, pruneOrphans, pruneRecords, pruneTombstones } from '../../../src/store/tx/retention.ts'
import { pruneIdempotencyKeys } from '../../../src/store/tx/idempotency.ts'
import { createQueueReader } from '../../../src/store/sqlite/readers/queue-reader.ts'
import { creditLostTime } from '../../../src/store/tx/lost-time.ts'
import { findStuck } from '../../../src/store/tx/runs/queue.ts'
import { discardChunks, orphanResult } from '../../../src/store/tx/results.ts'
import type { Tables } from '../../../src/store/tables.ts'
import { createTransact } from '../../../src/store/sqlite/transact.ts'
import type { Transact } from '../../../src/store/store.ts'
import { openForeign, openStore } from '../open.ts'

/*
 * Each repeated read finds its rows by an index, however many rows there are: one that read a whole table
 * would hold the event loop for as long.
 */

/** The two connections, with every statement that they run. */
const openWatched = async (t: Test) => {
  const { path, database: { files } } = await openStore(t)
  const statements: string[] = []
  const watch = { verbose: (sql?: unknown) => { statements.push(String(sql)) } }
  const reader = new SqliteDatabase(path, { ...watch, readonly: true })
  const writer = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new SqliteDatabase(path, watch) }) })
  const close = async () => {
    reader.close()
    await writer.destroy()
  }
  t.teardown(close)
  const watched: Database = { path, writer, reader, files, close }
  const foreign = openForeign(t, path)
  const planOf = (sql: string): string[] =>
    foreign.prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all().map(({ detail }) => detail)
  return {
    watched,
    transact: createTransact({ database: watched, now: () => 0 }),
    foreign,
    planOf,
    /** How SQLite goes about what is asked for while this runs. */
    plansOf: async (run: () => unknown): Promise<string[]> => {
      statements.length = 0
      await run()
      return statements
        .filter(sql => /^\s*(select|delete|update)/i.test(sql)).flatMap(planOf)
        .map(plan => plan.replace(/LIST SUBQUERY \d+/, 'LIST SUBQUERY'))
    }
  }
}

// Rows enough that every batch finds something to remove.
const rows = `
  INSERT INTO JobExecutionLog (jobId, status, endTime, submittedBy, expiresAt) VALUES
    ('s', 'Succeeded', '2020-01-01T00:00:00Z', 'me', '2020-01-01T00:00:00Z'), ('f', 'Failed', '2020-01-01T00:00:00Z', NULL, NULL),
    ('dead', 'Failed', NULL, NULL, NULL);
  DELETE FROM JobExecutionLog WHERE jobId = 'dead';
  INSERT INTO JobResultChunk (jobId, startOffset, bytes) VALUES ('s', 0, x'00');
  INSERT INTO JobInputChunk (inputId, startOffset, bytes) VALUES ('i', 0, x'00');
  INSERT INTO IdempotencyKey (tenant, key, requestHash, jobId, createdAt) VALUES ('t', 'k', 'h', 's', 0)`

t.test('every read and every batch of the pruner uses its index', async t => {
  const { watched, transact, foreign, plansOf } = await openWatched(t)
  foreign.exec(rows)
  const retention = createRetentionReader({ database: watched })
  const changes = createChangeLog({ database: watched, incarnation: 'i' })
  const at = Date.now() + 86_400_000
  const after = { endedMs: 1, seq: 1 }
  const orphan = (holder: string, id: string) => {
    foreign.exec(`REPLACE INTO OrphanedBytes (holder, id, forgetAt) VALUES ('${holder}', '${id}', 0)`)
  }
  const record = 'SEARCH JobExecutionLog USING'
  const sizeOfInput = [
    'CORRELATED SCALAR SUBQUERY 1', 'SEARCH JobInput USING INDEX sqlite_autoindex_JobInput_1 (jobId=?)'
  ]
  const cases: Array<[name: string, run: () => unknown, plans: string[]]> = [
    ['due results', () =>
      retention.hasDueResults(at), [`${record} INDEX JobExecutionLog_expires (expiresAt>? AND expiresAt<?)`]],
    ['due records of ours', () =>
      retention.hasDueRecords('ours', at), [`${record} INDEX JobExecutionLog_endedMs (endedMs<?)`, ...sizeOfInput]],
    ['due records of others', () =>
      retention.hasDueRecords('foreign', at), [
        `${record} INDEX JobExecutionLog_endedMsElsewhere (endedMs<?)`, ...sizeOfInput
    ]],
    ['due tombstones', () =>
      retention.hasDueTombstones(at), ['SEARCH JobTombstone USING INDEX JobTombstone_age (expiredAt<?)']],
    ['orphans', () =>
      retention.hasOrphans(at), ['SEARCH OrphanedBytes USING COVERING INDEX OrphanedBytes_due (forgetAt<?)']],
    // The first row alone, whatever the table holds.
    ['old changes', () => retention.hasOldChanges(at), ['CO-ROUTINE oldest', 'SCAN JobChange', 'SCAN oldest']],
    ['old keys', () => retention.hasOldIdempotencyKeys(at), [
      'SEARCH IdempotencyKey USING COVERING INDEX IdempotencyKey_age (createdAt<?)'
    ]],

    ['results', () => transact(
      tx => findDueResults(tx, at, 10)
    ), [`${record} INDEX JobExecutionLog_expires (expiresAt>? AND expiresAt<?)`]],
    ['records of ours', () => transact(tx => pruneRecords(tx, 'ours', at, 10, null)), [
      `${record} INDEX JobExecutionLog_endedMs (endedMs<?)`, ...sizeOfInput,
      `${record} INDEX sqlite_autoindex_JobExecutionLog_1 (jobId=?)`
    ]],
    ['records of others, further on', () => transact(tx => pruneRecords(tx, 'foreign', at, 10, after)), [
      `${record} INDEX JobExecutionLog_endedMsElsewhere (endedMs=? AND seq>?)`, ...sizeOfInput,
      `${record} INDEX JobExecutionLog_endedMsElsewhere (endedMs>? AND endedMs<?)`, ...sizeOfInput,
      `${record} INDEX sqlite_autoindex_JobExecutionLog_1 (jobId=?)`
    ]],
    ['tombstones', () => transact(tx => pruneTombstones(tx, at, 10)), [
      'SEARCH JobTombstone USING INDEX JobTombstone_age (expiredAt<?)',
      'SEARCH JobTombstone USING INDEX sqlite_autoindex_JobTombstone_1 (jobId=?)'
    ]],
    ['result bytes', () => { orphan('JobResultChunk', 's'); return transact(tx => pruneOrphans(tx, at, 10)) }, [
      'SEARCH OrphanedBytes USING COVERING INDEX OrphanedBytes_due (forgetAt<?)',
      'SEARCH JobResultChunk USING COVERING INDEX sqlite_autoindex_JobResultChunk_1 (jobId=? AND startOffset=?)',
      'LIST SUBQUERY', 'SEARCH JobResultChunk USING COVERING INDEX sqlite_autoindex_JobResultChunk_1 (jobId=?)',
      'SEARCH OrphanedBytes USING PRIMARY KEY (holder=? AND id=?)'
    ]],
    ['input bytes', () => { orphan('JobInputChunk', 'i'); return transact(tx => pruneOrphans(tx, at, 10)) }, [
      'SEARCH OrphanedBytes USING COVERING INDEX OrphanedBytes_due (forgetAt<?)',
      'SEARCH JobInputChunk USING COVERING INDEX sqlite_autoindex_JobInputChunk_1 (inputId=? AND startOffset=?)',
      'LIST SUBQUERY', 'SEARCH JobInputChunk USING COVERING INDEX sqlite_autoindex_JobInputChunk_1 (inputId=?)',
      'SEARCH OrphanedBytes USING PRIMARY KEY (holder=? AND id=?)'
    ]],
    ['changes', () => transact(tx => changes.prune(tx, at, 10)), [
      'SEARCH JobChange USING INTEGER PRIMARY KEY (rowid=?)', 'LIST SUBQUERY', 'CO-ROUTINE oldest', 'SCAN JobChange',
      'SCAN oldest'
    ]],
    ['keys', () => transact(tx => pruneIdempotencyKeys(tx, at, 10)), [
      'SEARCH IdempotencyKey USING COVERING INDEX IdempotencyKey_age (createdAt<?)',
      'SEARCH IdempotencyKey USING PRIMARY KEY (tenant=? AND key=?)'
    ]]
  ]
  for (const [name, run, plans] of cases) {
    t.same(await plansOf(run), plans, name)
  }
})

t.test('the reads of the queue use their indexes', async t => {
  const { watched, transact, plansOf, foreign } = await openWatched(t)
  foreign.exec("INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt) VALUES ('waiting', 'mail', 1, 0)")
  const queue = createQueueReader({ database: watched })
  const search = 'SEARCH JobQueue USING'
  const ofAll = [`${search} INDEX JobQueue_free (type=? AND availableAt<?)`]
  const ofTenant = [`${search} INDEX JobQueue_freeOfTenant (tenant=? AND type=? AND availableAt<?)`]
  const inWrite = (run: (tx: Parameters<Parameters<Transact>[0]>[0]) => Promise<unknown>) => () => transact(run)
  const cases: Array<[name: string, run: () => unknown, plans: string[]]> = [
    ['the count', () => queue.count(), [
      `${search} INDEX JobQueue_leased (leaseExpiresAt>?)`,
      ...['type>?', 'type=?', 'type=? AND (availableAt,seq)>(?,?)', 'type=? AND (availableAt,seq)>(?,?)', 'type>?']
        .map(terms => `${search} INDEX JobQueue_free (${terms})`)
    ]],
    ['any job', () => queue.hasAvailable({ types: ['report'], tenant: null }, 1), ofAll],
    ['any job of a tenant', () => queue.hasAvailable({ types: ['report'], tenant: 'acme' }, 1), ofTenant],
    ['the next job', inWrite(tx => nextAvailable(tx, { types: ['report'], tenant: null }, 1)), ofAll],
    ['the next job of a tenant', inWrite(tx => nextAvailable(tx, { types: ['report'], tenant: 'acme' }, 1)), ofTenant],
    ['lost leases', () => queue.hasStuck({
      leaseExpiredAt: 1
    }), [`${search} INDEX JobQueue_leased (leaseExpiresAt<?)`]],
    ['runs that took too long', () => queue.hasStuck(
      { deadlineAt: 1 }
    ), [`${search} INDEX JobQueue_deadline (deadlineAt<?)`]],
    ['runs that did not stop', () => queue.hasStuck({
      cancelDueAt: 1
    }), [`${search} INDEX JobQueue_cancelDue (cancelDueAt<?)`]],
    ['lost leases, to be taken back', inWrite(tx => findStuck(
      tx, { leaseExpiredAt: 1 }, 10
    )), [`${search} INDEX JobQueue_leased (leaseExpiresAt<?)`]],
    ['lost time', inWrite(tx => creditLostTime(tx, [{ beganAt: 1, endedAt: 2 }], 10)), [
      // The index holds the leased jobs alone, not those that wait.
      'SCAN JobQueue USING INDEX JobQueue_leased', `${search} INDEX JobQueue_cancelDue (cancelDueAt<?)`,
      'SEARCH ServiceState USING INDEX sqlite_autoindex_ServiceState_1 (name=?)'
    ]],
    ['bytes of an earlier run', inWrite(tx => discardChunks(tx, 'j', 10)), [
      'SEARCH JobResultChunk USING COVERING INDEX sqlite_autoindex_JobResultChunk_1 (jobId=? AND startOffset=?)',
      'LIST SUBQUERY',
      'SEARCH JobResultChunk USING COVERING INDEX sqlite_autoindex_JobResultChunk_1 (jobId=?)'
    ]],
    ['a result to be forgotten', inWrite(
      tx => orphanResult(tx, 'j'
      )), ['SEARCH JobResult USING INDEX sqlite_autoindex_JobResult_1 (jobId=?)']]
  ]
  for (const [name, run, plans] of cases) {
    t.same(await plansOf(run), plans, name)
  }
})

/*
 * The statements of the release before `seq`, which order by the rowid: it may still run beside this release, or
 * return after it.
 */
t.test('the previous release finds its rows by the indexes, and sorts at most those of one time', async t => {
  const foreign = openForeign(t, (await openStore(t)).path)
  const parameters = {
    tenant: 'acme',
    createdMs: 3,
    row: 2,
    createdAfter: 1,
    status: null,
    type: 'report',
    limit: 51,
    ended: '2020-01-01',
    before: '2021-01-01',
    availableAt: 1
  }
  const planOf = (sql: string): string[] =>
    foreign.prepare<[object], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all(parameters)
      .map(({ detail }) => detail).filter(step => step !== 'SCAN (subquery-1)' && !step.startsWith('CO-ROUTINE'))
  const sortOfTies = 'USE TEMP B-TREE FOR LAST TERM OF ORDER BY'

  const page = (owned: string, range: string) => `
    SELECT createdMs, row FROM (
      SELECT createdMs, rowid AS row, status, type FROM JobExecutionLog
      WHERE ${owned} AND ${range} ORDER BY createdMs DESC, rowid DESC LIMIT 5000)
    WHERE (:status IS NULL OR status = :status) AND (:type IS NULL OR type = :type) LIMIT :limit`
  const ranges = {
    'createdMs = :createdMs AND rowid < :row AND createdMs > :createdAfter': 'createdMs=?',
    'createdMs < :createdMs AND createdMs > :createdAfter': 'createdMs>? AND createdMs<?',
    'createdMs IS NULL AND rowid < :row': 'createdMs=?'
  }
  for (const [range, terms] of Object.entries(ranges)) {
    const [ofAll, ...ofTenant] = ['1', 'tenant = :tenant', 'tenant IS NULL'].map(owned => planOf(page(owned, range)))
    t.same(ofAll, [`SEARCH JobExecutionLog USING INDEX JobExecutionLog_created (${terms})`, sortOfTies], range)
    for (const plan of ofTenant) {
      t.same(plan, [
        `SEARCH JobExecutionLog USING INDEX JobExecutionLog_tenantCreated (tenant=? AND ${terms})`, sortOfTies
      ], range)
    }
  }

  for (const [submitted, index] of [
    ['IS NOT NULL', 'JobExecutionLog_ended'], ['IS NULL', 'JobExecutionLog_endedElsewhere']
  ]) {
    const ended = 'coalesce(endTime, createdAt)'
    const records = (where: string, order: string) => planOf(`
      SELECT jobId AS jobId, ${ended} AS ended, rowid AS row FROM JobExecutionLog
      WHERE status IN ('Succeeded', 'Failed') AND submittedBy ${submitted} AND ${where} ORDER BY ${order} LIMIT :limit`)
    const search = `SEARCH JobExecutionLog USING INDEX ${index}`
    t.same(records(`${ended} < :before`, `${ended}, rowid`), [`${search} (<expr><?)`, sortOfTies])
    t.same(records(`${ended} < :before AND ${ended} > :ended`, `${ended}, rowid`), [
      `${search} (<expr>>? AND <expr><?)`, sortOfTies
    ])
    t.same(records(`${ended} = :ended AND rowid > :row`, 'rowid'), [
      `${search} (<expr>=?)`, 'USE TEMP B-TREE FOR ORDER BY'
    ], 'all of one time')
  }

  const available = (where: string) => planOf(`
    SELECT *, rowid AS row FROM JobQueue WHERE leaseToken IS NULL AND type = :type AND availableAt <= :availableAt ${where}
    ORDER BY availableAt, rowid LIMIT 1`)
  t.same(available(''), ['SEARCH JobQueue USING INDEX JobQueue_free (type=? AND availableAt<?)', sortOfTies])
  t.same(available('AND tenant = :tenant'),
    ['SEARCH JobQueue USING INDEX JobQueue_freeOfTenant (tenant=? AND type=? AND availableAt<?)', sortOfTies])
})

t.test('callbacks that are due are found by one step in an index for each queue', async t => {
  const { watched, transact, foreign, planOf, plansOf } = await openWatched(t)
  foreign.exec(`INSERT INTO JobCallback (id, jobId, tenant, url, host, addedAt, state, nextTryAt)
    VALUES ('c', 'j', 'acme', 'https://h/', 'h:443', 1, 'pending', 1)`)
  const queue = { host: 'h:443', tenant: 'acme' }
  const { sql } = pendingQueuesQuery(watched.writer, 0, queue, 0)
  const steps = planOf(sql.replaceAll('?', "'1'")).filter(plan => plan.startsWith('SEARCH'))
  t.ok(steps.length > 4)
  const index = 'USING COVERING INDEX JobCallback_dueOf'
  const oneStep = [
    `SEARCH JobCallback ${index}Host (host>?)`, `SEARCH JobCallback ${index}Queue (host=?)`,
    `SEARCH JobCallback ${index}Queue (host=? AND tenant>?)`,
    `SEARCH callback ${index}Queue (host=? AND tenant=? AND nextTryAt<?)`,
    // WHERE 1 = 0, which reads nothing.
    `SEARCH JobCallback ${index}Host`, 'SEARCH JobCallback USING INDEX JobCallback_due (nextTryAt>?)'
  ]
  t.same(steps.filter(plan => !oneStep.includes(plan)), [])
  const claim = () => transact(tx => claimCallbacks(tx, queue, 5, 5, { token: 'l', endsAt: 9 }))
  t.same(await plansOf(claim), [
    'SEARCH JobCallback USING INDEX JobCallback_dueOfQueue (host=? AND tenant=? AND nextTryAt<?)',
    'SEARCH JobCallback USING INDEX sqlite_autoindex_JobCallback_1 (id=?)'
  ])
})
