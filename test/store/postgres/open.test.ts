import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { lockNumber } from '../../../src/store/postgres/identity/incarnation.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { freePort } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { queuedJob } from '../jobs.ts'
import { openAsStart as open } from './open.ts'

const server = await startPostgres(t)

const connect = async (t: Test, url: string) => {
  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

const databaseOf = (url: string) => new URL(url).pathname.slice(1)

const rejects = async (t: Test, databaseUrl: string, reason: RegExp) => {
  // Its patience is over at once.
  let reads = 0
  await t.rejects(open(t, databaseUrl, () => reads++ * 20_000), { name: 'DatabaseUnusable', message: reason })
}

/** A statement of the part about Postgres in docs/foreign-rows.md. */
const statementOfDocument = (begin: string): string => {
  const [, part = ''] = readFileSync('docs/foreign-rows.md', 'utf8').split('### On Postgres')
  const found = part.split('```').find(block => block.includes(begin))?.split(';').find(each => each.includes(begin))
  return found?.replace(/^sql/, '') ?? t.bailout(`the document has no ${begin}`) as never
}

t.test('several processes that start at once on an empty database make one schema', async t => {
  const url = await server.createDatabase(t)
  const opened = await Promise.all([1, 2, 3, 4].map(() => open(t, url)))
  t.equal(new Set(opened.map(({ store }) => store.incarnation)).size, 1)
  t.equal(opened[0]?.store.kind, 'postgres')
  await opened[0]?.store.transact(tx => insertJob(tx, queuedJob('j')))
  t.match(await opened[3]?.store.jobs.find('j'), { kind: 'job' })
  const again = await open(t, url)
  t.equal(again.store.incarnation, opened[0]?.store.incarnation, 'nor does a later start change it')
})

t.test('makes its tables in the first schema of the search_path, beside those of another service', async t => {
  const url = await server.createDatabase(t)
  await server.sql('CREATE SCHEMA one; CREATE SCHEMA two', databaseOf(url))
  const [one, two] = [await open(t, `${url}?search_path=one`), await open(t, `${url}?search_path=two`)]
  await one.store.transact(tx => insertJob(tx, queuedJob('j')))
  t.match([await one.store.jobs.find('j'), await two.store.jobs.find('j')], [{ kind: 'job' }, { kind: 'absent' }])
  t.not(one.store.incarnation, two.store.incarnation)
  await rejects(t, `${url}?search_path=three`, /: its search_path names no schema that exists$/)
})

t.test('a database that was restored from a dump has a new incarnation, and an empty log, and the start says so', async t => {
  const url = await server.createDatabase(t)
  const { store, warnings } = await open(t, url)
  t.same(warnings, [], 'a new database is no restored one')
  await store.transact(tx => insertJob(tx, queuedJob('j')))
  await store.close()
  const copy = await server.createDatabase(t, databaseOf(url))
  const restored = await open(t, copy)
  t.not(restored.store.incarnation, store.incarnation)
  t.match(restored.warnings, [/^the database is not the one of the last start, but [^\n]*: its incarnation was renewed, [^\n]*410/])
  t.equal(restored.warnings.length, 1)
  t.match(await restored.store.jobs.find('j'), { kind: 'job' })
  const { rows } = await server.sql("SELECT pg_relation_size('JobChange')::int AS bytes", databaseOf(copy))
  t.same(rows, [{ bytes: 0 }], 'which takes no time, however long it was')
  const next = await open(t, copy)
  t.equal(next.store.incarnation, restored.store.incarnation, 'until the next restore')
  t.same(next.warnings, [], 'which the next start does not repeat')
})

t.test('a start that rejects a restored database leaves it as it is: the next one says that it was restored', async t => {
  const url = await server.createDatabase(t)
  const { store } = await open(t, url)
  await store.close()
  const copy = await server.createDatabase(t, databaseOf(url))
  const run = (statement: string) => server.sql(statement, databaseOf(copy))
  await run('ALTER TABLE JobExecutionLog ENABLE TRIGGER zz_updated')
  await rejects(t, copy, /run ALTER TABLE JobExecutionLog ENABLE ALWAYS TRIGGER zz_updated$/)
  await run('ALTER TABLE JobExecutionLog ENABLE ALWAYS TRIGGER zz_updated')
  const { store: { incarnation }, warnings } = await open(t, copy)
  t.not(incarnation, store.incarnation)
  t.match(warnings, [/its incarnation was renewed/])
})

t.test('a program that has not committed yet does not delay the start on a restored database', async t => {
  const url = await server.createDatabase(t)
  const { store } = await open(t, url)
  await store.transact(tx => insertJob(tx, queuedJob('j')))
  await store.close()
  const copy = await server.createDatabase(t, databaseOf(url))
  const foreign = await connect(t, copy)
  await foreign.query("BEGIN; INSERT INTO JobExecutionLog (jobId, status) VALUES ('late', 'Queued')")
  const restored = await open(t, copy)
  t.not(restored.store.incarnation, store.incarnation)
  await foreign.query('COMMIT')
  t.same((await foreign.query('SELECT jobId AS id FROM JobChange')).rows, [{ id: 'late' }])
})

t.test('a start waits for the migration of another process, for longer than a statement may take', async t => {
  const url = await server.createDatabase(t)
  const other = await connect(t, url)
  await other.query(`SELECT pg_advisory_lock(${lockNumber})`)
  const opening = open(t, url)
  // The limits of statements are 5 s on the server and 8 s in the driver.
  const isWaiting = async () => (await other.query(`
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
      AND query_start < clock_timestamp() - interval '8500 ms'`)).rowCount === 1
  await Promise.race([opening, until(isWaiting, 'the wait')])
  await other.query('SELECT pg_advisory_unlock_all()')
  t.equal((await opening).store.kind, 'postgres')
})

t.test('a role that lacks a right is told which, and where to read what it needs', async t => {
  const url = await server.createDatabase(t)
  await server.sql('CREATE ROLE weak LOGIN')
  const asWeak = url.replace(/\/\/[^@]*@/, '//weak@')
  await rejects(t, asWeak, /: the role weak may not create tables in the schema public: docs\/postgres\.md lists the rights/)
  await (await open(t, url)).store.close()
  await rejects(t, asWeak, /: permission denied for table kysely_migration: docs\/postgres\.md lists the rights/)
})

t.test('rejects a database on which it would not keep its promises, in one line', async t => {
  const url = await server.createDatabase(t)
  const run = (statement: string) => server.sql(statement, databaseOf(url))
  await (await open(t, url)).store.close()
  await run('ALTER TABLE JobExecutionLog DISABLE TRIGGER ALL; ALTER TABLE JobExecutionLog ENABLE TRIGGER ALL')
  await rejects(t, url, /run ALTER TABLE JobExecutionLog ENABLE ALWAYS TRIGGER zz_inserting$/)
  for (const name of ['inserting', 'inserted', 'updating', 'updated', 'deleted', 'truncating']) {
    await run(`ALTER TABLE JobExecutionLog ENABLE ALWAYS TRIGGER zz_${name}`)
  }
  await (await open(t, url)).store.close()
  await run('DROP TRIGGER zz_truncating ON JobExecutionLog')
  await rejects(t, url, /: the trigger zz_truncating of JobExecutionLog is missing$/)
  await run("INSERT INTO kysely_migration VALUES ('9999-later', '2030-01-01')")
  await rejects(t, url, /: a newer release of the service has migrated it$/)
  await server.sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
  await rejects(t, server.urlOf('latin'), /: its encoding is SQL_ASCII, and must be UTF8$/)
  await rejects(t, server.urlOf('none'), /^DATABASE_URL: cannot use postgres:\/\/127.0.0.1:\d+\/none: database "none" does not exist$/)
  await rejects(t, `postgres://u:secret@127.0.0.1:${await freePort()}/jobs`, /^DATABASE_URL: cannot use postgres:\/\/127.0.0.1:\d+\/jobs: connect ECONNREFUSED/)
  await rejects(t, 'postgres://u:secret@host/jobs?sslmode=prefer', /^DATABASE_URL: cannot use postgres:\/\/host\/jobs: sslmode=prefer/)
})

t.test('a table of another program is not adopted, and its rows are copied by the statements of the document', async t => {
  const url = await server.createDatabase(t)
  const run = (statement: string) => server.sql(statement, databaseOf(url))
  await run(`CREATE TABLE JobExecutionLog (jobId varchar(40) PRIMARY KEY, status varchar(20) NOT NULL, startTime timestamptz,
    color text)`)
  await run("INSERT INTO JobExecutionLog VALUES ('a', 'Succeeded', '2026-03-01 10:00+01', 'red'), ('b', 'Running', NULL, '')")
  await rejects(t, url, new RegExp(': its schema public has a JobExecutionLog of another program, which the service does ' +
    'not adopt on Postgres: rename it, start the service, and copy its rows as docs/foreign-rows.md says$'))
  const { rows } = await run("SELECT to_regclass('jobqueue') AS queue")
  t.same(rows, [{ queue: null }], 'nothing is left of the schema')
  await run(statementOfDocument('ALTER TABLE'))
  const { store } = await open(t, url)
  await run(statementOfDocument('INSERT INTO'))
  t.match(await store.jobs.find('a'), { kind: 'job', job: { state: 'succeeded', startedAt: Date.UTC(2026, 2, 1, 9) } })
  t.match(await store.jobs.find('b'), { kind: 'job', job: { state: 'running', startedAt: null } })
})

t.test('the migrations of another program are not those of a newer release', async t => {
  const url = await server.createDatabase(t)
  await server.sql(`CREATE TABLE kysely_migration (name text PRIMARY KEY, timestamp text);
    INSERT INTO kysely_migration VALUES ('2024-users', '2024')`, databaseOf(url))
  await rejects(t, url, /: the table kysely_migration in its schema public belongs to another program: name a schema/)
})

t.test('waits for a server that starts later', async t => {
  const url = await server.createDatabase(t)
  await server.kill()
  const opening = open(t, url)
  await delay(300)
  await server.restart()
  t.match((await opening).store, { kind: 'postgres' })
})
