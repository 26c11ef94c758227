import pg from 'pg'
import t from 'tap'
import { isUnavailable } from '../../src/errors.ts'
import { createListJobs } from '../../src/store/postgres/readers/job-list.ts'
import type { Store } from '../../src/store/store.ts'
import { startPostgres } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import type { OpenStoreUnderTest } from './conformance/store-under-test.ts'
import { topics } from './conformance/topics.ts'
import { openOn, openStore } from './postgres/open.ts'

// No analyze of the server's own: a transaction that is under way in a snapshot may have written changes.
const server = await startPostgres(t, ['autovacuum=off'])

/** The store, but that it tries a read of the epoch again: these give up after half a second, which a busy machine exceeds. */
const withPatience = (store: Store): Store => {
  const unlessUnavailable = (error: unknown) => {
    if (!isUnavailable(error)) throw error
    return undefined
  }
  const read = () => until(() => store.epoch.read().catch(unlessUnavailable), 'the rows of the epoch')
  return { ...store, epoch: { ...store.epoch, read } }
}

const openPostgres: OpenStoreUnderTest = async t => {
  const { url, database, store } = await openStore(t, server)
  const foreign = new pg.Client(url)
  foreign.on('error', () => {})
  await foreign.connect()
  t.teardown(() => foreign.end())
  return {
    store: withPatience(store),
    openAnother: async () => withPatience((await openOn(t, url)).store),
    sql: statement => foreign.query(statement),
    replacing: row => `BEGIN; DELETE FROM JobExecutionLog WHERE jobId = '${row.jobId}';
      INSERT INTO JobExecutionLog (${Object.keys(row).join()})
      VALUES (${Object.values(row).map(value => `'${value}'`).join()}); COMMIT`,
    sqlUnchecked: async statement => {
      const { rows } = await foreign.query<{ name: string }>(`
        SELECT conname AS name FROM pg_constraint WHERE conrelid = 'jobexecutionlog'::regclass AND contype = 'c'`)
      for (const { name } of rows) await foreign.query(`ALTER TABLE JobExecutionLog DROP CONSTRAINT ${name}`)
      await foreign.query(statement)
    },
    count: async from => Number((await foreign.query<{ count: string }>(`SELECT count(*) FROM ${from}`)).rows[0]?.count),
    logged: async () => (await foreign.query<{ version: string, jobId: string }>(
      'SELECT version, jobId AS "jobId" FROM JobChange ORDER BY version')).rows
      .map(({ version, jobId }) => ({ version: Number(version), jobId })),
    listWith: rowsExaminedMax => createListJobs({ database, rowsExaminedMax }),
    pruneChanges: async keep => {
      await foreign.query(`WITH gone AS (
        DELETE FROM JobChange WHERE (xid, version) IN (
          SELECT xid, version FROM JobChange ORDER BY xid DESC, version DESC OFFSET ${keep}) RETURNING xid, version)
        UPDATE JobChangePruned SET belowXid = last.xid, belowVersion = last.version + 1
        FROM (SELECT xid, version FROM gone ORDER BY xid DESC, version DESC LIMIT 1) AS last`)
    }
  }
}

for (const [topic, conformance] of Object.entries(topics)) {
  t.test(topic, async t => { conformance(t, openPostgres) })
}
