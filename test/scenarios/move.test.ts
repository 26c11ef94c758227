import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import { createWorkerClient, type Json, jsonOf, workerClaims } from '../helpers/client.ts'
import { sqlite3 } from '../helpers/databases.ts'
import { startPostgres } from '../helpers/postgres.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { type Environment, type Service, startService } from '../helpers/service.ts'
import { secret, webhookSecret } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { allJobs, idOf } from '../store/jobs.ts'
import { openForeign, openStore } from '../store/open.ts'

/*
 * A service moves from its SQLite file to a Postgres, by the command of the operator.
 */

const run = promisify(execFile)
const postgres = await startPostgres(t)
const root = resolve(import.meta.dirname, '../..')
const { PATH, NODE_V8_COVERAGE, NODE_COMPILE_CACHE } = process.env
const script = join(root, 'scripts/migrate.ts')

type Outcome = { code: number, stdout: string, stderr: string }

/** `npm run migrate` in a folder, with these variables only. */
const migrate = async (cwd: string, args: string[], env: Environment = {}): Promise<Outcome> =>
  await run(process.execPath, [script, ...args], {
    cwd, env: { PATH, NODE_V8_COVERAGE, NODE_COMPILE_CACHE, ...env }
  }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }: Outcome) => ({ code, stdout, stderr })
  )

/** A folder as a local service has it: its database and the keys that it made. */
const makeFolder = (t: Test) => {
  const cwd = t.testdir()
  mkdirSync(join(cwd, 'data'))
  writeFileSync(join(cwd, 'data/jwt-secret'), `${secret}\n`)
  writeFileSync(join(cwd, 'data/webhook-secret'), webhookSecret)
  return { cwd, path: join(cwd, 'data/jobs.db'), from: ['--from', `sqlite:${join(cwd, 'data/jobs.db')}`] }
}

const allowed = { CALLBACK_HOSTS_ALLOWED: '127.0.0.1' }
const post = (body: unknown, more = {}) => ({ method: 'POST', claims: workerClaims, body, ...more })
const bytes = Buffer.from(Array.from({ length: 700_000 }, (_, index) => index * index % 251))

const oddRows = `
  INSERT INTO JobExecutionLog (jobId, status, createdAt, endTime, errorDetails, progressMessage, type) VALUES
    ('foreign-1', 'Failed', '2026-02-01 09:00', '20260201T100000Z', '{"code":"E","message":"\\u0000 \\ud800","details":[1.50]}',
      'ü😀' || char(10) || char(9) || '\\N', 'nightly'),
    ('foreign-2', 'Running', 'soon', NULL, NULL, '', ''),
    ('gone-1', 'Succeeded', NULL, NULL, NULL, NULL, NULL);
  DELETE FROM JobExecutionLog WHERE jobId = 'gone-1';
  INSERT INTO SanitizationEvent VALUES ('foreign-1', 'script', 2, '2026-02-01'), ('foreign-1', 'script', 2, '2026-02-01')`

/** Jobs in every state, and what a service knows beside them. */
const populate = async (service: Service, callbackUrl: string) => {
  const worker = createWorkerClient(service)
  const submit = async (type: string, more: Json = {}, headers: Json = {}): Promise<string> =>
    (await service.askJson('/api/v1/jobs', post({ type, input: { n: 1 }, ...more }, { headers }))).jobId
  const claim = async (type: string) => {
    await submit(type)
    return await worker.claimed(type, { leaseSeconds: 1800 })
  }
  const large = await claim('large')
  await worker.upload(large.jobId, large.leaseToken, 0, bytes.toString('latin1'), { headers: { 'content-type': 'text/csv' } })
  await worker.report(large.jobId, 'complete', large.leaseToken)
  const small = await claim('small')
  await worker.report(small.jobId, 'complete', small.leaseToken, { result: { text: 'ü\u0000\ud800' } })
  const failed = await claim('failing')
  await worker.report(failed.jobId, 'fail', failed.leaseToken, { error: { code: 'E', message: 'm' }, retryable: false })
  const cancelled = await submit('cancelled')
  await service.ask(`/api/v1/jobs/${cancelled}/cancel`, post(undefined))
  const running = await claim('running')
  await worker.upload(running.jobId, running.leaseToken, 0, 'the first half, ', { headers: { 'content-type': 'text/plain' } })
  await worker.report(running.jobId, 'progress', running.leaseToken, { percent: 40, stage: 's' })
  const keyed = await submit('queued', { callbackUrl: `${callbackUrl}/waiting` }, { 'idempotency-key': 'key-1' })
  const raw = await service.askJson('/api/sanitize/async', {
    method: 'POST', body: `<b>${'x'.repeat(400_000)}</b>`, headers: { 'content-type': 'text/html' }
  })
  const ended = await submit('ended', { callbackUrl: `${callbackUrl}/pending` })
  await worker.report(ended, 'complete', (await worker.claimed('ended')).leaseToken)
  await service.sql(oddRows)
  return { large: large.jobId, small: small.jobId, running, keyed, raw: raw.data.taskId as string }
}

/** What readers see of a service: each status and the lists, without what belongs to one database. */
const readAll = async ({ askJson }: Pick<Service, 'askJson'>) => {
  const pages: Json[] = []
  for (let url = '/api/jobs?limit=3'; url !== '';) {
    const page = await askJson(url)
    pages.push(...page.data.items)
    url = page.data.next ?? ''
  }
  const ids: string[] = pages.map(({ taskId }) => taskId)
  const statuses = await Promise.all(ids.map(async id => [
    await askJson(`/api/v1/jobs/${id}`), await askJson(`/api/v1/jobs/${id}/attempts`), await askJson(`/api/jobs/${id}/status`)
  ]))
  return { ids, pages, statuses }
}

t.test('everything is there after a move: statuses, results, the queue, leases, keys and callbacks', async t => {
  const { cwd, path, from } = makeFolder(t)
  let isMoved = false
  const receiver = await startReceiver(t, response => { response.writeHead(isMoved ? 200 : 503).end() })
  const old = await startService(t, { WORKERS: '0', ...allowed }, path)
  const jobs = await populate(old, receiver.url)
  const before = await readAll(old)
  const tag = (await old.ask(`/api/v1/jobs/${jobs.large}`)).headers.get('etag') ?? ''
  t.equal((await old.ask(`/api/v1/jobs/${jobs.large}`, { headers: { 'if-none-match': tag } })).status, 304)
  const url = await postgres.createDatabase(t)
  const to = ['--to', url.replace('postgres@', 'postgres:hush@')]
  t.match(await migrate(cwd, [...from, ...to]), { code: 1, stderr: /^--from: a service process is using .*jobs\.db: stop it, then move\n$/ })
  const { cursor } = await old.askJson('/api/v1/events')
  await receiver.arrived(1)
  await old.stop()
  const rejected = receiver.received.length
  await sqlite3(path, "UPDATE JobCallback SET nextTryAt = 1 WHERE state = 'pending'")
  // As if the service had been stopped an hour ago: leases have the time left that they had then.
  const hour = 3600
  await sqlite3(path, `
    UPDATE JobQueue SET leaseExpiresAt = leaseExpiresAt - ${hour * 1000}, availableAt = availableAt - ${hour * 1000};
    UPDATE ServiceState SET value = value - ${hour * 1000} WHERE name = 'leasesCreditedUntil'`)
  utimesSync(path, Date.now() / 1000 - hour, Date.now() / 1000 - hour)
  isMoved = true
  const file = readFileSync(path)

  const moved = await migrate(cwd, [...from, ...to])
  t.match(moved, {
    code: 0,
    stderr: '',
    stdout: /^JobExecutionLog: 10 rows, \d+ bytes, sha256 [0-9a-f]{64}\n(\w+: .*\n){11}postgres:\/\/127\.0\.0\.1:\d+\/\w+: moved .*jobs\.db in [\d.]+ s, with the keys token and webhook; each table was read back and compared\n$/
  })
  t.notMatch(moved.stdout, /hush/)
  t.ok(readFileSync(path).equals(file), 'the source is as it was')
  t.match(await migrate(cwd, [...from, ...to]), { code: 0, stdout: /was moved here before: nothing was done\n$/ })

  // Without keys of its own, which a start on Postgres reads from the database.
  const service = await startService(t, { WORKERS: '0', ...allowed, DATABASE_URL: url, JWT_SECRET: '', WEBHOOK_SECRET: '' }, path)
  const worker = createWorkerClient(service)
  t.same(await readAll(service), before)
  t.equal((await service.ask(`/api/v1/jobs/${jobs.large}`, { headers: { 'if-none-match': tag } })).status, 200)
  const result = await service.ask(`/api/v1/jobs/${jobs.large}/result`)
  t.equal(Buffer.from(await result.arrayBuffer()).toString('utf8'), bytes.toString('latin1'))
  t.equal(await (await service.ask(`/api/v1/jobs/${jobs.small}/result`)).text(), JSON.stringify({ text: 'ü\u0000\ud800' }))
  t.match(await jsonOf(service.ask('/api/v1/jobs/gone-1')), { code: 'JOB_EXPIRED' })
  t.match(await jsonOf(service.ask(`/api/v1/events?since=${cursor}`)), { code: 'CURSOR_EXPIRED' })

  const replay = await service.ask('/api/v1/jobs', post({ type: 'queued', input: { n: 1 } }, { headers: { 'idempotency-key': 'key-1' } }))
  t.equal(replay.headers.get('idempotency-replayed'), 'true')
  t.equal((await jsonOf(replay)).jobId, jobs.keyed)
  const { jobId, leaseToken } = jobs.running
  t.equal((await worker.upload(jobId, leaseToken, 16, 'and the second', { headers: { 'content-type': 'text/plain' } })).status, 200)
  t.equal((await worker.report(jobId, 'complete', leaseToken)).status, 200)
  t.equal(await (await service.ask(`/api/v1/jobs/${jobId}/result`)).text(), 'the first half, and the second')

  const claimed = await worker.claimed('queued')
  t.equal(claimed.jobId, jobs.keyed)
  await worker.report(claimed.jobId, 'complete', claimed.leaseToken, { result: 1 })
  const arrived = (await receiver.arrived(rejected + 2)).slice(rejected)
  const { body, headers } = arrived.find(({ url }) => url === '/waiting') ?? { body: '', headers: {} }
  t.same(arrived.map(({ url }) => url).toSorted(), ['/pending', '/waiting'])
  t.match(new Webhook(webhookSecret).verify(body, headers as Record<string, string>), { type: 'job.succeeded', data: { taskId: jobs.keyed } })

  const database = new URL(url).pathname.slice(1)
  const newest = Number(await sqlite3(path, "SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'"))
  const { rows: [row] } = await postgres.sql(`SELECT version FROM JobExecutionLog WHERE jobId = '${jobId}'`, database)
  t.ok(Number(row?.version) > newest, 'versions go on behind the newest of before')
  await t.rejects(postgres.sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'foreign-1'", database), /BR-001/)
  await t.rejects(postgres.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('gone-1', 'Failed')", database), /BR-001/)
  await service.stop()

  const sanitizing = await startService(t, { WORKERS: '1', DATABASE_URL: url, JWT_SECRET: '', WEBHOOK_SECRET: '' }, path)
  t.match(await sanitizing.finished(jobs.raw), { status: 'Succeeded' })
})

t.test('values that Postgres cannot hold are named before anything is copied', async t => {
  const { cwd, path, from } = makeFolder(t)
  const { database } = await openStore(t, path)
  const foreign = openForeign(t, path)
  foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, type, errorDetails, tenant) VALUES
    ('good', 'Queued', 'a', NULL, NULL), ('nul', 'Failed', 'a', 'x' || char(0), NULL),
    ('half', 'Failed', CAST(x'41EDA080' AS TEXT), NULL, CAST(x'FF' AS TEXT))`)
  foreign.close()
  await database.close()
  const url = await postgres.createDatabase(t)
  t.match(await migrate(cwd, from, { DATABASE_URL: url }), {
    code: 1,
    stdout: '',
    stderr: [
      'nothing was moved: Postgres cannot hold these values',
      'JobExecutionLog.errorDetails of "nul" has a NUL character',
      'JobExecutionLog.type of "half" has a lone surrogate, or other bytes that are not UTF-8',
      'JobExecutionLog.tenant of "half" has a lone surrogate, or other bytes that are not UTF-8\n'
    ].join('\n')
  })
  await sqlite3(path, 'UPDATE JobExecutionLog SET errorDetails = \'x\', tenant = NULL, type = \'a\'')
  t.match(await migrate(cwd, from, { DATABASE_URL: url }), { code: 0, stdout: /JobExecutionLog: 3 rows/ })
})

t.test('a move that is killed leaves nothing, and is run again', async t => {
  const { cwd, path, from } = makeFolder(t)
  const { database, store } = await openStore(t, path)
  openForeign(t, path).exec(`
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'job-' || i, 'Queued' FROM n`)
  const { lookups } = await store.jobs.list(allJobs, null, 500)
  await database.close()
  const url = await postgres.createDatabase(t)
  const name = new URL(url).pathname.slice(1)
  t.match(await migrate(cwd, [], { DATABASE_URL: url, JWT_SECRET: secret }), { code: 0 }, 'the schema')
  // The move has copied everything, and waits for another session before the end of its transaction.
  await postgres.sql(`
    CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock_shared(1); RETURN NEW; END $$;
    CREATE TRIGGER linger BEFORE UPDATE ON ServiceState FOR EACH ROW EXECUTE FUNCTION linger()`, name)
  const holder = new pg.Client({ connectionString: url })
  await holder.connect()
  await holder.query('SELECT pg_advisory_lock(1)')
  const child = spawn(process.execPath, [script, ...from, '--to', url], { cwd, env: { PATH, NODE_COMPILE_CACHE }, stdio: 'ignore' })
  const isWaiting = async () => (await postgres.sql('SELECT 1 FROM pg_locks WHERE locktype = \'advisory\' AND NOT granted')).rows.length > 0
  await until(isWaiting, 'the end of the copy')
  child.kill('SIGKILL')
  await once(child, 'exit')
  await holder.end()
  await postgres.sql('DROP TRIGGER linger ON ServiceState', name)
  t.same((await postgres.sql('SELECT count(*)::int AS count FROM JobExecutionLog', name)).rows, [{ count: 0 }])
  t.match(await migrate(cwd, [...from, '--to', url]), { code: 0, stdout: /^JobExecutionLog: 500 rows/ })
  const { rows } = await postgres.sql('SELECT jobId AS id, version FROM JobExecutionLog ORDER BY createdMs DESC, seq DESC', name)
  t.same(rows.map(({ id }) => id as string), lookups.map(idOf))
})

t.test("leases go on by the server's clock, whatever the clock of the source said", async t => {
  const { cwd, path, from } = makeFolder(t)
  await (await openStore(t, path)).database.close()
  // Of a machine whose clock is an hour ahead, when the service was stopped.
  const [hourMs, leaseMs] = [3_600_000, 60_000]
  const stoppedAt = Date.now() + hourMs
  await sqlite3(path, `INSERT INTO JobExecutionLog (jobId, status) VALUES ('held', 'Running');
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, leaseToken, leaseExpiresAt, leaseMs)
      VALUES ('held', 'a', 1, 0, 'token', ${stoppedAt + leaseMs}, ${leaseMs})`)
  utimesSync(path, stoppedAt / 1000, stoppedAt / 1000)
  const url = await postgres.createDatabase(t)
  t.match(await migrate(cwd, [...from, '--to', url]), { code: 0 })
  const { rows: [row] } = await postgres.sql(
    'SELECT leaseExpiresAt - extract(epoch FROM now()) * 1000 AS ms FROM JobQueue', new URL(url).pathname.slice(1))
  t.ok(Number(row?.ms) > 0 && Number(row?.ms) <= leaseMs, `${String(row?.ms)} ms are left`)
})

t.test("waiting times go on by the server's clock, in their order, whatever the clock of the source said", async t => {
  const [hourMs, minuteMs] = [3_600_000, 60_000]
  for (const aheadMs of [hourMs, -hourMs]) {
    const { cwd, path, from } = makeFolder(t)
    await (await openStore(t, path)).database.close()
    const stoppedAt = Date.now() + aheadMs
    // When the service was stopped, some were due and some were not.
    const ofAges = Object.entries({ oldest: -2 * hourMs, old: -hourMs / 2, due: -1, soon: minuteMs, later: 2 * minuteMs })
    for (const [id, ms] of ofAges) {
      await sqlite3(path, `INSERT INTO JobExecutionLog (jobId, status) VALUES ('${id}', 'Queued');
        INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt) VALUES ('${id}', 'a', 2, ${stoppedAt + ms});
        INSERT INTO JobCallback (id, jobId, tenant, url, host, addedAt, state, nextTryAt)
          VALUES ('${id}', '${id}', 't', 'http://h/', 'h', 0, 'pending', ${stoppedAt + ms})`)
    }
    utimesSync(path, stoppedAt / 1000, stoppedAt / 1000)
    const url = await postgres.createDatabase(t)
    t.match(await migrate(cwd, [...from, '--to', url]), { code: 0, stderr: '' })
    const columns = [['availableAt', 'JobQueue', 'jobId', 'availableAt, seq'], ['nextTryAt', 'JobCallback', 'id', 'nextTryAt']] as const
    for (const [column, table, id, order] of columns) {
      const { rows } = await postgres.sql(`
        SELECT ${id} AS id, ${column} - extract(epoch FROM now()) * 1000 AS ms FROM ${table} ORDER BY ${order}`,
      new URL(url).pathname.slice(1)) as { rows: Array<{ id: string, ms: string }> }
      const left = Object.fromEntries(rows.map(({ id, ms }) => [id, Number(ms)]))
      if (column === 'availableAt') t.same(rows.map(({ id }) => id), ofAges.map(([id]) => id))
      for (const id of ['oldest', 'old', 'due']) t.ok(Number(left[id]) <= 0, `${column} of ${id}: ${left[id]} ms`)
      for (const [id, ms] of [['soon', minuteMs], ['later', 2 * minuteMs]] as const) {
        t.ok(Number(left[id]) > ms - minuteMs && Number(left[id]) <= ms, `${column} of ${id}: ${left[id]} ms`)
      }
    }
  }
})

t.test('a move whose copy is not what was sent is undone, and names the table', async t => {
  const { cwd, path, from } = makeFolder(t)
  await (await openStore(t, path)).database.close()
  await sqlite3(path, `INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Failed');
    INSERT INTO SanitizationEvent VALUES ('b', 'script', 2, '2026-02-01'), ('b', 'link', 1, '2026-02-01')`)
  const url = await postgres.createDatabase(t)
  const run = (statement: string) => postgres.sql(statement, new URL(url).pathname.slice(1))
  t.match(await migrate(cwd, [], { DATABASE_URL: url, JWT_SECRET: secret }), { code: 0 }, 'the schema')
  const file = readFileSync(path)
  // A program of the target changes one value, or leaves a row out.
  const changes = [
    ['JobExecutionLog', "IF NEW.jobId = 'b' THEN NEW.type := 'x'; END IF; RETURN NEW"],
    ['SanitizationEvent', 'NEW.count := NEW.count + 1; RETURN NEW'],
    ['SanitizationEvent', "IF NEW.kind = 'link' THEN RETURN NULL; END IF; RETURN NEW"]
  ] as const
  for (const [table, change] of changes) {
    await run(`CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${change}; END $$;
      CREATE TRIGGER meddle BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION meddle()`)
    const outcome = await migrate(cwd, [...from, '--to', url])
    t.match(outcome, { code: 1, stderr: `nothing was moved: ${table} is not the same in the target as in the source\n` })
    t.notMatch(outcome.stdout, new RegExp(`^${table}:|: moved `, 'm'), 'the table is not reported as moved')
    await run('DROP FUNCTION meddle() CASCADE')
    const { rows } = await run(`SELECT (SELECT count(*) FROM JobExecutionLog)::int AS jobs,
      (SELECT count(*) FROM SanitizationEvent)::int AS events,
      (SELECT count(*) FROM ServiceState WHERE name = 'movedFrom')::int AS moves`)
    t.same(rows, [{ jobs: 0, events: 0, moves: 0 }], 'nothing stays')
  }
  t.ok(readFileSync(path).equals(file), 'the source is as it was')
  t.match(await migrate(cwd, [...from, '--to', url]), { code: 0, stdout: /^JobExecutionLog: 2 rows(.*\n)*SanitizationEvent: 2 rows/ })
})

t.test('a target with jobs of its own is left alone', async t => {
  const { cwd, path, from } = makeFolder(t)
  await (await openStore(t, path)).database.close()
  const url = await postgres.createDatabase(t)
  await migrate(cwd, [], { DATABASE_URL: url })
  await postgres.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('own', 'Queued')", new URL(url).pathname.slice(1))
  t.match(await migrate(cwd, [...from, '--to', url]), {
    code: 1, stderr: '--to: it has jobs of its own (JobExecutionLog has rows): a move needs a database without jobs\n'
  })
})

t.test('names the argument that is wrong, and its rule', async t => {
  const { cwd, from, path } = makeFolder(t)
  const to = ['--to', 'postgres://u:hush@127.0.0.1:1/jobs?connect_timeout=1']
  const cases: Array<[string[], RegExp]> = [
    [to, /^--from: is missing: it must be sqlite:PATH, the database to be moved\n$/],
    [['--from', 'postgres://u:hush@h/d', ...to], /^--from: must be sqlite:PATH, the database to be moved\n$/],
    [['--from', 'sqlite:a?b', ...to], /^--from: must have neither options nor a fragment[^\n]*\n$/],
    [from, /^--to: is missing, and so is DATABASE_URL: it must be a URL that begins with postgres:\/\/\n$/],
    [[...from, '--to', 'sqlite:other.db'], /^--to: must be a URL that begins with postgres:\/\/\n$/],
    [[...from, ...to], /^--from: there is no file .*jobs\.db\n$/],
    [[...from, '--fast'], /^error: unknown option '--fast'\n$/]
  ]
  for (const [args, stderr] of cases) {
    const outcome = await migrate(cwd, args)
    t.match(outcome, { code: 1, stdout: '', stderr }, args.join(' '))
    t.notMatch(outcome.stderr, /hush/)
  }
  await sqlite3(path, 'CREATE TABLE JobExecutionLog (jobId TEXT PRIMARY KEY, status TEXT)')
  t.match(await migrate(cwd, [...from, ...to]), {
    code: 1, stderr: /^--from: .*jobs\.db lacks the migration 0001-job-execution-log: run npm run migrate with DATABASE_URL=sqlite:.*, then move\n$/
  })
  await (await openStore(t, path)).database.close()
  t.match(await migrate(cwd, [...from, ...to]), {
    code: 1, stderr: /^--to: cannot use postgres:\/\/127\.0\.0\.1:1\/jobs: connect ECONNREFUSED/
  })
})

t.test('the table of another program moves as the service reads it, and says which columns do not', async t => {
  const { cwd, path, from } = makeFolder(t)
  await sqlite3(path, `CREATE TABLE JobExecutionLog (jobId VARCHAR(40) PRIMARY KEY, status VARCHAR(20), type, createdAt DATETIME, etaSeconds, color TEXT);
    INSERT INTO JobExecutionLog VALUES ('a', 'Running', 7.5, 1772359200, '90', 'red'), ('b', 'Queued', '', NULL, '', NULL)`)
  await (await openStore(t, path)).database.close()
  const url = await postgres.createDatabase(t)
  await sqlite3(path, "UPDATE JobExecutionLog SET etaSeconds = 'soon', type = x'00' WHERE jobId = 'b'")
  t.match(await migrate(cwd, [...from, '--to', url]), {
    code: 1, stderr: /\nJobExecutionLog\.type of "b" has bytes in place of a text\nJobExecutionLog\.etaSeconds of "b" is no whole number\n$/
  })
  await sqlite3(path, "UPDATE JobExecutionLog SET etaSeconds = '', type = '' WHERE jobId = 'b'")
  t.match(await migrate(cwd, [...from, '--to', url]), {
    code: 0, stdout: /\nnot moved: the columns color of JobExecutionLog, which are none of the service\n/
  })
  const { rows } = await postgres.sql(
    'SELECT type, createdAt, createdMs::float8 AS ms, etaSeconds::int AS eta FROM JobExecutionLog ORDER BY jobId', new URL(url).pathname.slice(1))
  t.match(rows, [{ type: '7.5', createdat: '1772359200', ms: 1772359200000, eta: 90 }, { type: '', eta: null }])
})
