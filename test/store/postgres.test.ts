import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { createEpochRowStore } from '../../src/store/epoch-row-store.ts'
import { createChangeLog } from '../../src/store/postgres/change-log.ts'
import { identity } from '../../src/store/postgres/identity.ts'
import { createReadEpochRows } from '../../src/store/postgres/readers/epoch-rows.ts'
import { createTransact } from '../../src/store/postgres/transact.ts'
import type { Store } from '../../src/store/store.ts'
import type { OpenStoreUnderTest } from './conformance/store-under-test.ts'
import { topics } from './conformance/topics.ts'
import { startMigrated } from './postgres/migrated.ts'
import { openDatabases } from './postgres/open-databases.ts'

// No analyze of the server's own: a transaction that is under way in a snapshot may have written changes.
const { open } = await startMigrated(t, ['autovacuum=off'])

const openParts = async (t: Test, url: string) => {
  const { writer, reads, epoch } = openDatabases(t, url)
  const { rows: [row] } = await sql<{ incarnation: string, identity: string }>`
    SELECT value AS incarnation, ${identity} AS identity FROM ServiceState WHERE name = 'incarnation'`.execute(reads)
  const transact = createTransact({ writer, now: () => performance.now(), random: Math.random })
  return {
    transact,
    changes: createChangeLog({ reads, incarnation: row?.incarnation ?? '' }),
    epoch: createEpochRowStore({
      read: createReadEpochRows({ epoch, identity: () => row?.identity ?? '' }), transact, now: () => Date.now()
    })
  } as unknown as Store
}

const openPostgres: OpenStoreUnderTest = async t => {
  const { url, run, rows, value } = await open(t)
  return {
    store: await openParts(t, url),
    openAnother: () => openParts(t, url),
    sql: run,
    sqlUnchecked: run,
    count: async from => Number(await value(`SELECT count(*) FROM ${from}`)),
    logged: async () => (await rows('SELECT version, jobId FROM JobChange ORDER BY version')).map(
      ({ version, jobid }) => ({ version: Number(version), jobId: String(jobid) })),
    listWith: () => { throw new Error('there are no lists yet') },
    pruneChanges: async keep => {
      await run(`WITH gone AS (
        DELETE FROM JobChange WHERE (xid, version) IN (
          SELECT xid, version FROM JobChange ORDER BY xid DESC, version DESC OFFSET ${keep}) RETURNING xid, version)
        UPDATE JobChangePruned SET belowXid = last.xid, belowVersion = last.version + 1
        FROM (SELECT xid, version FROM gone ORDER BY xid DESC, version DESC LIMIT 1) AS last`)
    }
  }
}

for (const topic of ['changes', 'epoch']) {
  t.test(topic, async t => { topics[topic]?.(t, openPostgres) })
}
