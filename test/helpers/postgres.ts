import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { postgresBinary } from '../../scripts/services.ts'
import { freePort } from './redis.ts'

/** What ends a test, or something else. */
type Closing = { teardown: (close: () => unknown) => void }

/** A Postgres of the test's own, which it may kill. */
export type PrivatePostgres = {
  port: number
  process: () => ChildProcess
  /** The URL of a database, as the superuser. */
  urlOf: (database: string) => string
  /** Makes a database, of the template if one is named, and returns its URL. It is dropped when the test ends. */
  createDatabase: (t: Closing, template?: string) => Promise<string>
  /** Runs statements as the superuser. */
  sql: (statement: string, database?: string) => Promise<pg.QueryResult>
  /** Ends it as a crash would. */
  kill: () => Promise<void>
  /** Starts it again on the same port, with its data. */
  restart: () => Promise<void>
}

const superuser = 'postgres'

// Postgres does not run as root.
const asUnprivileged = process.getuid?.() === 0
  ? ['setpriv', '--reuid', superuser, '--regid', superuser, '--init-groups']
  : []

const folderPrefix = join(tmpdir(), 'job-status-postgres-')

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

// A test process that is killed leaves its folder behind, so the next one removes it.
const removeLeftFolders = () => {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^job-status-postgres-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(tmpdir(), name), { recursive: true, force: true })
  }
}

const run = (program: string, ...args: string[]) => {
  const [command = program, ...rest] = [...asUnprivileged, program, ...args]
  execFileSync(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] })
}

const makeFolder = (): string => {
  const folder = mkdtempSync(`${folderPrefix}${process.pid}-`)
  if (asUnprivileged.length > 0) execFileSync('chown', [superuser, folder])
  chmodSync(folder, 0o700)
  run(postgresBinary('initdb'), '--pgdata', join(folder, 'data'), '--username', superuser, '--auth', 'trust',
    '--encoding', 'UTF8', '--locale', 'C.UTF-8', '--no-sync')
  return folder
}

// No test cuts the power, so nothing waits for the disk.
const defaults = [
  'fsync=off', 'full_page_writes=off', 'shared_buffers=32MB', 'listen_addresses=127.0.0.1', 'log_min_messages=log', 'log_checkpoints=off',
  'max_wal_size=256MB'
]

// The server dies with the test process, however that dies. SIGQUIT ends all its processes and frees its memory.
const launch = async (folder: string, port: number, settings: readonly string[]): Promise<ChildProcess> => {
  const [command = '', ...args] = [
    ...asUnprivileged, 'setpriv', '--pdeathsig', 'QUIT', postgresBinary('postgres'), '-D', join(folder, 'data'),
    '-p', String(port), '-k', folder, ...[...defaults, ...settings].flatMap(setting => ['-c', setting])
  ]
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  for await (const chunk of child.stderr) {
    log += String(chunk)
    if (log.includes('database system is ready to accept connections')) {
      child.stderr.resume()
      return child
    }
  }
  throw new Error(`Postgres did not start: ${log}`)
}

const withClient = async <Value>(connectionString: string, work: (client: pg.Client) => Promise<Value>) => {
  const client = new pg.Client({ connectionString })
  client.on('error', () => {})
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Starts a server that ends with the test. `settings`: more of them, like `wal_level=logical`. */
export const startPostgres = async (t: Closing, settings: readonly string[] = []): Promise<PrivatePostgres> => {
  removeLeftFolders()
  const folder = makeFolder()
  const port = await freePort()
  let child = await launch(folder, port, settings)
  let databases = 0
  const urlOf = (database: string) => `postgres://${superuser}@127.0.0.1:${port}/${database}`
  const sql = (statement: string, database = superuser) =>
    withClient(urlOf(database), client => client.query(statement))
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGCONT')
    child.kill('SIGQUIT')
    await exit
  }
  t.teardown(async () => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    port,
    process: () => child,
    urlOf,
    createDatabase: async (t, template = 'template0') => {
      const name = `test_${++databases}`
      await sql(`CREATE DATABASE ${name} TEMPLATE ${template}`)
      t.teardown(async () => { await sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) })
      return urlOf(name)
    },
    sql,
    kill,
    restart: async () => { child = await launch(folder, port, settings) }
  }
}
