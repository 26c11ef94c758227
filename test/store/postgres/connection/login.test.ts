import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startPostgres } from '../../../helpers/postgres.ts'
import { until } from '../../../helpers/until.ts'
import { makeCertificates, makeOpenFolder } from './certificates.ts'
import { openAsStart } from '../open.ts'

/* A server that lets no role in without a password or a certificate, except the superuser of the tests. */

const folder = makeOpenFolder(t)
const { root, cert, key, makeClient } = makeCertificates(folder)
const rules = join(folder, 'pg_hba.conf')
writeFileSync(rules, `
  host all postgres 127.0.0.1/32 trust
  hostssl all certified 127.0.0.1/32 cert
  host all all 127.0.0.1/32 scram-sha-256`)
const server = await startPostgres(t, [
  `hba_file=${rules}`, 'ssl=on', `ssl_cert_file=${cert}`, `ssl_key_file=${key}`, `ssl_ca_file=${root}`
])
const password = "p@ss:w/rd?#&% '\\ü"
const encoded = encodeURIComponent(password)
await server.sql(`CREATE ROLE jobs LOGIN PASSWORD E'${password.replace(/['\\]/g, '\\$&')}'; CREATE ROLE certified LOGIN;
  CREATE ROLE changing LOGIN PASSWORD 'first'`)

const open = async (t: Test, databaseUrl: string) => (await openAsStart(t, databaseUrl)).store

/** A database that a role owns: its name, and the URL with what stands before the host. */
const createDatabase = async (t: Test, owner: string) => {
  const name = new URL(await server.createDatabase(t)).pathname.slice(1)
  await server.sql(`ALTER DATABASE ${name} OWNER TO ${owner}`)
  return { name, urlOf: (credentials: string) => `postgres://${credentials}@127.0.0.1:${server.port}/${name}` }
}

const rejects = (t: Test, url: string, reason: string) => t.rejects(open(t, url), {
  name: 'DatabaseUnusable', message: new RegExp(`^DATABASE_URL: cannot use postgres://127\\.0\\.0\\.1:\\d+/\\w+: ${reason}$`)
}, reason)

t.test('a role logs in with the password of the URL, whatever characters it has', async t => {
  const { rows: [row] } = await server.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'jobs'")
  t.match(row?.rolpassword, /^SCRAM-SHA-256\$/)
  const { urlOf } = await createDatabase(t, 'jobs')
  for (const url of [
    urlOf(`jobs:${encoded}`), `${urlOf('jobs')}?password=${encoded}`,
    `${urlOf(`jobs:${encoded}`)}?sslmode=verify-ca&sslrootcert=${root}`
  ]) {
    const { kind, jobs } = await open(t, url)
    t.equal(kind, 'postgres')
    t.match(await jobs.find('j'), { kind: 'absent' })
  }
})

t.test('a role logs in with a passfile, which is read again when the password was changed', async t => {
  const { name, urlOf } = await createDatabase(t, 'changing')
  const passfile = join(folder, 'passwords')
  const write = (password: string) => {
    writeFileSync(passfile, `other:*:*:*:no\n127.0.0.1:${server.port}:*:changing:${password}\n`, { mode: 0o600 })
  }
  write('first')
  const store = await open(t, `${urlOf('changing')}?passfile=${passfile}`)
  await server.sql("ALTER ROLE changing PASSWORD 'second'")
  write('second')
  await server.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`)
  const find = () => store.jobs.find('j').catch(() => undefined)
  t.match(await until(find, 'a read on a new connection'), { kind: 'absent' })
})

t.test('a login that fails is one line, at once and without the secret', async t => {
  const { urlOf } = await createDatabase(t, 'jobs')
  const passfile = join(folder, 'wrong')
  writeFileSync(passfile, `127.0.0.1:*:*:jobs:S3cret\nlocalhost:*:*:*:${password}\n`, { mode: 0o600 })
  const failed = 'password authentication failed for user "jobs"'
  await rejects(t, urlOf('jobs:S3cret'), failed)
  await rejects(t, `${urlOf('jobs')}?password=S3cret`, failed)
  await rejects(t, `${urlOf('jobs')}?passfile=${passfile}`, failed)
  await rejects(t, `${urlOf('other')}?passfile=${passfile}`, `passfile ${passfile} has no password for this connection`)
  for (const credentials of ['jobs', 'jobs:']) {
    await rejects(t, urlOf(credentials), 'it asks for a password, and the URL has none, or an empty one')
  }
})

t.test('a role logs in with its certificate', async t => {
  const { urlOf } = await createDatabase(t, 'certified')
  const own = makeClient('certified', 'S3cret')
  const url = `${urlOf('certified')}?sslmode=verify-ca&sslrootcert=${root}`
  const ofClient = `&sslcert=${own.cert}&sslkey=${own.key}`
  t.equal((await open(t, `${url}${ofClient}&sslpassword=S3cret`)).kind, 'postgres')
  await rejects(t, url, 'connection requires a valid client certificate')
  await rejects(t, `${urlOf('jobs')}?sslmode=require${ofClient}&sslpassword=S3cret`,
    'it asks for a password, and the URL has none, or an empty one')
})
