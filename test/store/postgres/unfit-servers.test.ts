import t, { type Test } from 'tap'
import { startPgbouncer } from '../../helpers/pgbouncer.ts'
import { startPostgresPair } from '../../helpers/postgres-pair.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { openAsStart as open } from './open.ts'

/* Servers, and what stands before them, on which the store would not keep its promises: a start names the reason. */

const server = await startPostgres(t)

const databaseOf = (url: string) => new URL(url).pathname.slice(1)

const rejects = (t: Test, url: string, reason: RegExp) => t.rejects(open(t, url), { name: 'DatabaseUnusable', message: reason })

t.test('a connection pooler, whatever it does with the settings of sessions', async t => {
  const url = await server.createDatabase(t)
  const reason = /^DATABASE_URL: cannot use postgres:\/\/127\.0\.0\.1:\d+\/\w+: a connection pooler stands before it, [^\n]*must name the server itself$/
  for (const settings of [['pool_mode = transaction'], ['pool_mode = transaction', 'ignore_startup_parameters = options']]) {
    const port = await startPgbouncer(t, server.port, settings)
    await rejects(t, `postgres://postgres@127.0.0.1:${port}/${databaseOf(url)}`, reason)
  }
  await open(t, url)
})

// A function of that name stands before Postgres' own, so the server says what an older one would.
const claimsVersion = (number: number, name: string) => `
  CREATE SCHEMA older;
  CREATE FUNCTION older.current_setting(name text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE name WHEN 'server_version_num' THEN '${number}' WHEN 'server_version' THEN '${name}'
      ELSE pg_catalog.current_setting(name) END $$`

t.test('a server of an older release', async t => {
  const url = await server.createDatabase(t)
  await server.sql(claimsVersion(130_014, '13.14 (Debian)'), databaseOf(url))
  const searchPath = encodeURIComponent('older,pg_catalog,public')
  await rejects(t, `${url}?search_path=${searchPath}`, /: PostgreSQL 13\.14 \(Debian\) is too old: at least 14 is needed$/)
  const { rows } = await server.sql("SELECT to_regclass('jobqueue') AS queue", databaseOf(url))
  t.same(rows, [{ queue: null }], 'nothing is made in it')
})

t.test('a standby, which shows what the primary has shown before', async t => {
  const pair = await startPostgresPair(t)
  const name = databaseOf((await pair.createDatabase()).replace(/,[^/]*/, ''))
  await pair.synchronize()
  const [, standby] = pair.servers
  await rejects(t, standby?.urlOf(name) ?? '', /: it is a replica, on which nothing can be written$/)
  await open(t, pair.primary().urlOf(name))
})

t.test('a role that may not ask for the whole identity of the database is told what is not recognized', async t => {
  const url = await server.createDatabase(t)
  const run = (statement: string) => server.sql(statement, databaseOf(url))
  await run('CREATE ROLE managed LOGIN; CREATE SCHEMA managed AUTHORIZATION managed')
  t.teardown(() => run('DROP OWNED BY managed CASCADE; DROP ROLE managed'))
  const asManaged = url.replace('postgres@', 'managed@') + '?search_path=managed'
  const first = await open(t, asManaged)
  t.same(first.warnings, [])
  await first.store.close()
  const openWithout = async (lost: string, expected: RegExp[]) => {
    await run(`REVOKE EXECUTE ON FUNCTION ${lost} FROM PUBLIC`)
    const { store, warnings } = await open(t, asManaged)
    t.match(warnings, [/its incarnation was renewed/, ...expected])
    t.equal(warnings.length, 1 + expected.length)
    t.ok((await store.epoch.read()).epoch)
    const again = await open(t, asManaged)
    t.equal(again.store.incarnation, store.incarnation, 'a later start finds the same database')
    return store.incarnation
  }
  const timeline = /^the service may not call pg_walfile_name\(\), so that it does not recognize a failover[^\n]*: run npm run renew-incarnation after one$/
  const system = /^the service may not call pg_control_system\(\), so that it does not recognize another server/
  t.not(await openWithout('pg_walfile_name(pg_lsn)', [timeline]), first.store.incarnation, 'what cannot be compared is another')
  await openWithout('pg_control_system()', [system, timeline])
})
