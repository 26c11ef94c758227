import t from 'tap'
import { until } from '../../../helpers/until.ts'
import { startMigrated } from '../migrated.ts'

const { server, open } = await startMigrated(t, ['wal_level=logical', 'max_logical_replication_workers=4'])

const nameOf = (url: string) => new URL(url).pathname.slice(1)

t.test('a subscription writes like any other program: it draws versions, and stops at a terminal status', async t => {
  const { run, rows, value, url } = await open(t)
  const origin = nameOf(await server.createDatabase(t))
  await server.sql(`CREATE TABLE JobExecutionLog (jobId text PRIMARY KEY, status text, type text, seq bigint);
    CREATE PUBLICATION jobs FOR TABLE JobExecutionLog`, origin)
  await server.sql("SELECT pg_create_logical_replication_slot('jobs', 'pgoutput')", origin)
  await run(`CREATE SUBSCRIPTION jobs CONNECTION 'host=127.0.0.1 port=${server.port} user=postgres dbname=${origin}'
    PUBLICATION jobs WITH (create_slot = false)`)
  t.teardown(async () => {
    await server.sql('ALTER SUBSCRIPTION jobs DISABLE', nameOf(url))
    await server.sql('ALTER SUBSCRIPTION jobs SET (slot_name = NONE)', nameOf(url))
    await server.sql('DROP SUBSCRIPTION jobs', nameOf(url))
    await until(async () => (await server.sql('SELECT 1 FROM pg_replication_slots WHERE active')).rowCount === 0)
    await server.sql("SELECT pg_drop_replication_slot('jobs')", origin)
  })
  const statusOf = (jobId: string) => value(`SELECT status FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  const changes = () => value('SELECT count(*) FROM JobChange')
  await server.sql("INSERT INTO JobExecutionLog VALUES ('j', 'Running', NULL, 1), ('k', 'Running', NULL, 1)", origin)
  await until(async () => await statusOf('k') === 'Running')
  await server.sql("UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'j'; DELETE FROM JobExecutionLog WHERE jobId = 'k'", origin)
  await until(async () => await value('SELECT count(*) FROM JobTombstone') === 1)
  t.equal(await changes(), 4)
  const [record] = await rows('SELECT seq, version FROM JobExecutionLog')
  t.equal(record?.version, await value("SELECT max(version) FROM JobChange WHERE jobId = 'j'"))
  t.equal(await statusOf('j'), 'Failed')

  await server.sql("UPDATE JobExecutionLog SET status = 'Running'", origin)
  const errors = 'SELECT apply_error_count FROM pg_stat_subscription_stats'
  if (Number(await value('SHOW server_version_num')) >= 150_000) await until(async () => Number(await value(errors)) > 0)
  t.equal(await statusOf('j'), 'Failed')
  t.equal(await changes(), 4)
  await server.sql('TRUNCATE JobExecutionLog', origin)
  t.equal(await statusOf('j'), 'Failed')
})

t.test('a subscription writes with the rights of an engine, when its owner has no others', async t => {
  const { run, value, url } = await open(t)
  const origin = nameOf(await server.createDatabase(t))
  await server.sql(`CREATE TABLE JobExecutionLog (jobId text PRIMARY KEY, status text);
    CREATE PUBLICATION jobs FOR TABLE JobExecutionLog`, origin)
  await server.sql("SELECT pg_create_logical_replication_slot('engine', 'pgoutput')", origin)
  // Only a superuser may make it, or, from 16 on, a role that logs in with a password.
  await run('CREATE ROLE engine LOGIN SUPERUSER; SET ROLE engine')
  const isNewer = Number(await value('SHOW server_version_num')) >= 160_000
  await run(`CREATE SUBSCRIPTION engine CONNECTION 'host=127.0.0.1 port=${server.port} user=postgres dbname=${origin}'
    PUBLICATION jobs WITH (create_slot = false, enabled = false${isNewer ? ', run_as_owner = true, password_required = false' : ''})`)
  t.teardown(async () => {
    await server.sql('ALTER SUBSCRIPTION engine DISABLE', nameOf(url))
    await server.sql('ALTER SUBSCRIPTION engine SET (slot_name = NONE)', nameOf(url))
    await server.sql('DROP SUBSCRIPTION engine; DROP OWNED BY engine; DROP ROLE engine', nameOf(url))
    await until(async () => (await server.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'engine' AND active")).rowCount === 0)
    await server.sql("SELECT pg_drop_replication_slot('engine')", origin)
  })
  await run(`RESET ROLE; ALTER ROLE engine NOSUPERUSER;
    GRANT SELECT, INSERT, UPDATE, DELETE ON JobExecutionLog TO engine`)
  await run('ALTER SUBSCRIPTION engine ENABLE')
  await server.sql("INSERT INTO JobExecutionLog VALUES ('j', 'Running'), ('k', 'Running')", origin)
  await until(async () => await value('SELECT count(*) FROM JobExecutionLog') === 2)
  await server.sql("UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'j'; DELETE FROM JobExecutionLog WHERE jobId = 'k'", origin)
  await until(async () => await value('SELECT count(*) FROM JobTombstone') === 1)
  t.equal(await value("SELECT status FROM JobExecutionLog WHERE jobId = 'j'"), 'Failed')
  t.equal(await value('SELECT count(*) FROM JobChange'), 4, 'with versions and log')
})
