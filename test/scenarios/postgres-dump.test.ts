import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { postgresBinary } from '../../scripts/services.ts'
import { createWorkerClient, type Json, jsonOf, workerClaims } from '../helpers/client.ts'
import { type PrivatePostgres, startPostgres } from '../helpers/postgres.ts'
import { type Service, startService } from '../helpers/service.ts'

/*
 * A database of the service goes through pg_dump, and back through pg_restore or psql.
 */

const run = promisify(execFile)

const tool = async (name: 'pg_dump' | 'pg_restore' | 'psql', ...args: string[]): Promise<string> =>
  (await run(postgresBinary(name), args, { maxBuffer: 1e8 })).stdout

const [origin, other] = [await startPostgres(t), await startPostgres(t)]
const url = await origin.createDatabase(t)
const nameOf = (url: string) => new URL(url).pathname.slice(1)

const post = (body: unknown, headers = {}) => ({ method: 'POST', claims: workerClaims, body, headers })
const bytes = Buffer.from(Array.from({ length: 700_000 }, (_, index) => index * index % 251)).toString('latin1')
const keyed = post({ type: 'queued', input: { n: 1 } }, { 'idempotency-key': 'key-1' })

/** Jobs in every state, and what a service knows beside them. */
const populate = async (service: Service) => {
  const worker = createWorkerClient(service)
  const claim = async (type: string) => {
    await service.submit(type, { n: 1 }, { claims: workerClaims })
    return await worker.claimed(type, { leaseSeconds: 3600 })
  }
  const large = await claim('large')
  await worker.upload(large.jobId, large.leaseToken, 0, bytes, { headers: { 'content-type': 'text/csv' } })
  await worker.report(large.jobId, 'complete', large.leaseToken)
  const small = await claim('small')
  await worker.report(small.jobId, 'complete', small.leaseToken, { result: { text: 'ü\u0000\ud800\\N\t' } })
  const failed = await claim('failing')
  await worker.report(failed.jobId, 'fail', failed.leaseToken, { error: { code: 'E', message: 'm' }, retryable: false })
  const running = await claim('running')
  await worker.upload(running.jobId, running.leaseToken, 0, 'the first half, ', { headers: { 'content-type': 'text/plain' } })
  const queued: string = (await service.askJson('/api/v1/jobs', keyed)).jobId
  await origin.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('gone-1', 'Succeeded'), ('foreign-1', 'Failed');
    DELETE FROM JobExecutionLog WHERE jobId = 'gone-1'`, nameOf(url))
  return { large: large.jobId, small: small.jobId, failed: failed.jobId, running, queued }
}

// So that the numbers of the transactions in the log are those of the future in the other cluster.
await origin.sql('DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$')
const before = await startService(t, { WORKERS: '0', DATABASE_URL: url })
const jobs = await populate(before)
const ids = [jobs.large, jobs.small, jobs.failed, jobs.running.jobId, jobs.queued, 'foreign-1', 'gone-1', 'unknown']

/** What readers see, without what belongs to one incarnation. */
const readAll = async ({ ask, askJson }: Service) => ({
  list: (await askJson('/api/v1/jobs')).items as Json[],
  jobs: await Promise.all(ids.map(async id => [
    await askJson(`/api/v1/jobs/${id}`), await askJson(`/api/jobs/${id}/status`), await askJson(`/api/v1/jobs/${id}/attempts`),
    await askJson(`/api/v1/jobs/${id}/input`)
  ])),
  results: await Promise.all([jobs.large, jobs.small].map(async id => await (await ask(`/api/v1/jobs/${id}/result`)).text()))
})

const poll = async ({ ask }: Service, tag?: string) => {
  const { status, headers } = await ask(`/api/v1/jobs/${jobs.large}`, tag === undefined ? {} : { headers: { 'if-none-match': tag } })
  return { status, tag: headers.get('etag') ?? '' }
}

/** The definitions of everything in a database, with the rights, as pg_dump writes them. */
const schemaOf = async (url: string): Promise<string[]> =>
  (await tool('pg_dump', '--schema-only', '--no-owner', url)).split('\n').filter(line => !/^(--|\\|$)/.test(line))

const numberIn = async (server: PrivatePostgres, query: string, url: string): Promise<number> =>
  Number((await server.sql(`SELECT (${query})::text AS value`, nameOf(url))).rows[0]?.value)

const seen = await readAll(before)
const { tag } = await poll(before)
const { cursor } = await before.askJson('/api/v1/events')
const schema = await schemaOf(url)
const newest = await numberIn(origin, 'SELECT max(version) FROM JobChange', url)
const newestXid = await numberIn(origin, 'SELECT max(xid::text::bigint) FROM JobChange', url)
const folder = t.testdir()
const [custom, plain] = [join(folder, 'jobs.dump'), join(folder, 'jobs.sql')]
// The service goes on meanwhile.
await tool('pg_dump', '--format=custom', `--file=${custom}`, url)
await tool('pg_dump', '--format=plain', '--no-owner', `--file=${plain}`, url)
const late = await before.submit('queued', {})
await before.stop()

const restore = (...args: string[]) => tool('pg_restore', '--exit-on-error', ...args, custom)

/** An empty database of the other cluster, whose owner is a role without any other rights. */
const createOwned = async (t: Test): Promise<string> => {
  const created = await other.createDatabase(t)
  await other.sql(`ALTER DATABASE ${nameOf(created)} OWNER TO jobs`)
  return created.replace('postgres@', 'jobs@')
}

await other.sql('CREATE ROLE jobs LOGIN')

type Way = { title: string, server: PrivatePostgres, restored: (t: Test) => Promise<string> }

const ways: readonly Way[] = [
  {
    title: 'by pg_restore, in the same cluster',
    server: origin,
    restored: async t => {
      const copy = await origin.createDatabase(t)
      await restore(`--dbname=${copy}`)
      return copy
    }
  },
  {
    title: 'by pg_restore, in another cluster, as a role of its own',
    server: other,
    restored: async t => {
      const copy = await createOwned(t)
      await restore('--no-owner', '--jobs=2', `--dbname=${copy}`)
      return copy
    }
  },
  {
    title: 'by psql, in another cluster',
    server: other,
    restored: async t => {
      const copy = await createOwned(t)
      await tool('psql', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--single-transaction', `--file=${plain}`, copy)
      return copy
    }
  },
  {
    title: 'by pg_restore, in the place of the database that was dumped',
    server: origin,
    restored: async () => {
      await restore('--clean', '--if-exists', '--single-transaction', `--dbname=${url}`)
      return url
    }
  }
]

const renewalsIn = ({ logs }: Service) => logs.filter(({ msg }) => String(msg).includes('its incarnation was renewed'))

for (const { title, server, restored } of ways) {
  t.test(`a dump is restored ${title}: all is there, under a new incarnation, and the start says so`, async t => {
    const copy = await restored(t)
    if (server === other) {
      t.ok(await numberIn(other, 'pg_current_xact_id()', copy) < newestXid, 'the log has transactions that are yet to come')
    }
    t.same(await schemaOf(server.urlOf(nameOf(copy))), schema, 'tables, triggers, functions and rights are the same')
    const service = await startService(t, { WORKERS: '0', DATABASE_URL: copy })
    t.match(renewalsIn(service), [{ level: 40 }])
    t.equal(renewalsIn(service).length, 1)
    t.same(await readAll(service), seen)
    t.equal((await service.ask(`/api/v1/jobs/${late}`)).status, 404, 'what came after the dump is gone')

    const renewed = await poll(service, tag)
    t.equal(renewed.status, 200, 'a tag of before matches nothing')
    t.not(renewed.tag, tag)
    t.match(await jsonOf(service.ask(`/api/v1/events?since=${cursor}`)), { code: 'CURSOR_EXPIRED' })

    const sql = (statements: string) => server.sql(statements, nameOf(copy))
    const from = (await service.askJson('/api/v1/events')).cursor
    const { rows: [row] } = await sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('next', 'Queued') RETURNING version")
    t.ok(Number(row?.version) > newest, 'a version is greater than all before')
    const { items } = await service.askJson(`/api/v1/events?since=${from}`)
    t.match(items, [{ jobId: 'next' }], 'the feed has this change')
    t.equal(items.length, 1, 'and none of the old log')
    const asReplica = (statement: string) => sql(`SET session_replication_role = replica; ${statement}`)
    await t.rejects(asReplica("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'foreign-1'"), /BR-001/)
    await t.rejects(asReplica("INSERT INTO JobExecutionLog (jobId, status) VALUES ('gone-1', 'Failed')"), /BR-001/)

    const replay = await service.ask('/api/v1/jobs', keyed)
    t.equal(replay.headers.get('idempotency-replayed'), 'true')
    t.equal((await jsonOf(replay)).jobId, jobs.queued)
    const worker = createWorkerClient(service)
    const { jobId, leaseToken } = jobs.running
    t.equal((await worker.upload(jobId, leaseToken, 16, 'and the second', { headers: { 'content-type': 'text/plain' } })).status, 200)
    t.equal((await worker.report(jobId, 'complete', leaseToken)).status, 200, 'leases go on')
    t.equal(await (await service.ask(`/api/v1/jobs/${jobId}/result`)).text(), 'the first half, and the second')
    t.equal((await worker.claimed('queued')).jobId, jobs.queued)
    await service.stop()

    const again = await startService(t, { WORKERS: '0', DATABASE_URL: copy })
    t.same(renewalsIn(again), [], 'the next start finds the same database')
    t.equal((await poll(again, renewed.tag)).status, 304)
    await again.stop()
  })
}
