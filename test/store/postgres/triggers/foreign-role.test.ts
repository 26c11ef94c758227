import t from 'tap'
import { startMigrated } from '../migrated.ts'

const { server, open } = await startMigrated(t)

t.test('a role with rights on the one table changes jobs, and can do nothing else', async t => {
  const { run, rows, value, connect } = await open(t)
  await server.sql('CREATE ROLE engine LOGIN')
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
