import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { openOn } from '../open.ts'
import { startMigrated } from '../migrated.ts'

const { server, open } = await startMigrated(t)
await server.sql('CREATE ROLE engine LOGIN')

t.test('a role with rights on the one table changes jobs, and can do nothing else', async t => {
  const { run, rows, value, connect } = await open(t)
  await run(`GRANT SELECT, INSERT, UPDATE, DELETE ON JobExecutionLog TO engine; CREATE SCHEMA AUTHORIZATION engine;
    INSERT INTO JobExecutionLog (jobId, status) VALUES ('ours', 'Queued');
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, seq) VALUES ('ours', 'x', 1, 0, 1)`)
  const engine = await connect('engine', '-c search_path=engine')
  await engine.query(`INSERT INTO public.JobExecutionLog (jobId, status, endTime) VALUES ('e', 'Queued', '20260301T110000Z');
    UPDATE public.JobExecutionLog SET status = 'Failed' WHERE jobId = 'e'; DELETE FROM public.JobExecutionLog`)
  t.same(await rows('SELECT jobId, status FROM JobTombstone ORDER BY jobId'), [
    { jobid: 'e', status: 'Failed' }, { jobid: 'ours', status: 'Queued' }
  ])
  t.same([await value('SELECT count(*) FROM JobQueue'), await value('SELECT count(*) FROM JobChange')], [0, 5])
  const denied = { code: '42501' }
  await t.rejects(engine.query('TRUNCATE public.JobExecutionLog'), denied)
  for (const table of ['JobQueue', 'JobChange', 'JobTombstone', 'ServiceState']) {
    await t.rejects(engine.query(`SELECT 1 FROM public.${table}`), denied, table)
  }
  await t.rejects(engine.query('ALTER TABLE public.JobExecutionLog DISABLE TRIGGER ALL'), denied)
})

/** The statements of docs/postgres.md that grant an engine its rights, in the order of the document. */
const grantsOf = (t: Test): [grants: string, inSchema: string] => {
  const [, section = ''] = readFileSync('docs/postgres.md', 'utf8').split('\n## Rights\n')
  const [first, second] = [...section.matchAll(/```sql\n(GRANT .*?)```/gs)].map(([, statements]) => statements)
  return [first ?? t.bailout('no grants') as never, second ?? t.bailout('no grants in a schema') as never]
}

t.test('a role with the grants of the document changes jobs in a schema of its own, and does not without them', async t => {
  const url = await server.createDatabase(t)
  const name = new URL(url).pathname.slice(1)
  const run = (statement: string) => server.sql(statement, name)
  await run('CREATE SCHEMA jobs')
  const { store } = await openOn(t, `${url}?search_path=jobs`)
  const [grants, inSchema] = grantsOf(t)
  const asEngine = (statement: string) => run(`SET ROLE engine; ${statement}`)
  const insert = (jobId: string) => asEngine(`INSERT INTO jobs.JobExecutionLog (jobId, status) VALUES ('${jobId}', 'Queued')`)
  const denied = { code: '42501', message: 'permission denied for schema jobs' }
  await run(`SET search_path = jobs; ${grants}`)
  await t.rejects(insert('a'), denied, 'the rights on the table are not enough')
  await run(`REVOKE ALL ON jobs.JobExecutionLog FROM engine; ${inSchema}`)
  await insert('a')
  await asEngine(`SET search_path = jobs; UPDATE JobExecutionLog SET status = 'Failed'; INSERT INTO JobExecutionLog (jobId, status)
    VALUES ('a', 'Queued'), ('b', 'Queued') ON CONFLICT (jobId) DO UPDATE SET type = 'x'`)
  t.match(await store.jobs.find('a'), { kind: 'job', job: { state: 'failed', type: 'x' } })
  await asEngine("DELETE FROM jobs.JobExecutionLog WHERE jobId = 'b'")
  t.match(await store.jobs.find('b'), { kind: 'tombstone' })
  await t.rejects(asEngine('SELECT 1 FROM jobs.JobQueue'), { code: '42501' })
  await t.rejects(asEngine('CREATE TABLE jobs.Mine ()'), denied)
})

t.test('a role cannot use the rights of the triggers', async t => {
  const { run, rows, connect } = await open(t)
  await run(`GRANT SELECT, INSERT, UPDATE, DELETE ON JobExecutionLog TO engine; CREATE SCHEMA AUTHORIZATION engine;
    INSERT INTO JobExecutionLog (jobId, status) VALUES ('ours', 'Queued')`)
  const engine = await connect('engine')
  await engine.query('CREATE TABLE engine.Mine (LIKE public.JobExecutionLog)')
  const functions = await rows(`SELECT oid::regprocedure::text AS name FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype`)
  t.ok(functions.length >= 7)
  for (const { name } of functions) {
    await t.rejects(engine.query(`CREATE TRIGGER mine AFTER DELETE ON engine.Mine FOR EACH ROW EXECUTE FUNCTION ${String(name)}`),
      { code: '42501' }, String(name))
  }
  // A temporary table is found before any other of its name, unless the path of the function says otherwise.
  await engine.query(`CREATE TEMP TABLE JobChange (version bigint, jobId text, readersBefore text, readersAfter text);
    CREATE TEMP TABLE JobTombstone (LIKE public.JobExecutionLog); CREATE FUNCTION pg_temp.JobTime(text) RETURNS bigint
      LANGUAGE sql AS 'SELECT 5::bigint';
    INSERT INTO public.JobExecutionLog (jobId, status, endTime) VALUES ('e', 'Failed', '20260301T110000Z');
    DELETE FROM public.JobExecutionLog WHERE jobId = 'ours'`)
  t.same(await rows('SELECT jobId FROM JobChange ORDER BY version'), [{ jobid: 'ours' }, { jobid: 'e' }, { jobid: 'ours' }])
  t.same(await rows('SELECT jobId FROM JobTombstone'), [{ jobid: 'ours' }])
  t.same(await rows('SELECT endedMs FROM JobExecutionLog'), [{ endedms: Date.UTC(2026, 2, 1, 11) }])
})

t.test('a commit with a version in it waits for the disk, whatever the writer has set', async t => {
  const { run, connect } = await open(t)
  const foreign = await connect()
  const setting = async () => (await foreign.query('SHOW synchronous_commit')).rows[0].synchronous_commit
  await run("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Queued')")
  await foreign.query('SET synchronous_commit = off')
  for (const sql of [
    "INSERT INTO JobExecutionLog (jobId, status) VALUES ('k', 'Queued')",
    "UPDATE JobExecutionLog SET type = 'x' WHERE jobId = 'j'", "DELETE FROM JobExecutionLog WHERE jobId = 'j'"
  ]) {
    await foreign.query(`BEGIN; ${sql}`)
    t.equal(await setting(), 'on', sql)
    await foreign.query('COMMIT')
    t.equal(await setting(), 'off', 'and only then')
  }
  await foreign.query("BEGIN; UPDATE JobExecutionLog SET type = 'x' WHERE jobId = 'z'")
  t.equal(await setting(), 'off', 'without a version, it is theirs')
  await foreign.query('COMMIT')
})
