import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { postgresBinary } from '../../scripts/services.ts'
import { freePort } from './redis.ts'

/*
 * One Postgres server of a test: postgres.ts and postgres-pair.ts make more of it.
 */

export const superuser = 'postgres'

// Postgres does not run as root.
const asUnprivileged = process.getuid?.() === 0
  ? ['setpriv', '--reuid', superuser, '--regid', superuser, '--init-groups']
  : []

const folderPrefix = 'job-status-postgres-'

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

// A test process that is killed leaves its folder behind, so the next one removes it.
const removeLeftFolders = (parent: string) => {
  for (const name of readdirSync(parent)) {
    const pid = /^job-status-postgres-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(parent, name), { recursive: true, force: true })
  }
}

/** Runs a program as the user of the server. */
export const run = (program: string, ...args: string[]): void => {
  const [command = program, ...rest] = [...asUnprivileged, program, ...args]
  execFileSync(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] })
}

const inMemory = '/dev/shm'
const roomMin = 4e9

// A database is some 300 files. In memory a server takes half of the system time: ext4 searches long for the number of a
// new file after many were removed. Containers often have little room there.
const dataParent = (): string => {
  if (!existsSync(inMemory)) return tmpdir()
  const { bavail, bsize } = statfsSync(inMemory)
  return bavail * bsize < roomMin ? tmpdir() : inMemory
}

/** Makes an empty folder in `parent` that the server may write in. One that a killed test has left is removed. */
export const makeFolder = (parent = dataParent()): string => {
  removeLeftFolders(parent)
  const folder = mkdtempSync(join(parent, `${folderPrefix}${process.pid}-`))
  if (asUnprivileged.length > 0) execFileSync('chown', [superuser, folder])
  chmodSync(folder, 0o700)
  return folder
}

/** Where the data of a server in this folder is. */
export const dataOf = (folder: string): string => join(folder, 'data')

const initdbOptions = ['--username', superuser, '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C.UTF-8', '--no-sync']
const templates = join(import.meta.dirname, '../../node_modules/.cache/postgres')

let known: string | undefined
const version = (): string => {
  known ??= execFileSync(postgresBinary('postgres'), ['--version'], { encoding: 'utf8' }).trim()
  return known
}

// Its owner is the one who runs the servers.
const toTemplate = (): string =>
  join(templates, [version(), process.getuid?.() ?? '', ...initdbOptions].join('-').replace(/[^\w.]+/g, '-'))

const copy = (from: string, to: string): void => { execFileSync('cp', ['-a', from, to]) }

// Of several processes that make it at once, that of the first stays.
const makeTemplate = (template: string): void => {
  mkdirSync(templates, { recursive: true })
  // The user of the server may be kept out of the folders above the repository.
  const made = makeFolder()
  const copied = makeFolder(templates)
  try {
    run(postgresBinary('initdb'), '--pgdata', dataOf(made), ...initdbOptions)
    copy(dataOf(made), dataOf(copied))
    renameSync(dataOf(copied), template)
  } catch (error) {
    if (!existsSync(template)) throw error
  } finally {
    for (const folder of [made, copied]) rmSync(folder, { recursive: true, force: true })
  }
}

/** Makes the data of a new server: a copy, which takes a fifth of the CPU of `initdb`. */
export const initialize = (folder: string): void => {
  const template = toTemplate()
  if (!existsSync(template)) makeTemplate(template)
  copy(template, dataOf(folder))
}

/**
 * The statement that makes a database. To copy the files of the other one takes a quarter of the CPU that it takes to
 * write them to the log, page by page, as Postgres 15 and later do unless told otherwise.
 */
export const createDatabaseSql = (name: string, template = 'template0'): string => {
  const strategy = Number(/\d+/.exec(version())?.[0]) < 15 ? '' : ' STRATEGY file_copy'
  return `CREATE DATABASE ${name} TEMPLATE ${template}${strategy}`
}

// No test cuts the power, so nothing waits for the disk.
const defaults = [
  'fsync=off', 'full_page_writes=off', 'shared_buffers=32MB', 'listen_addresses=127.0.0.1', 'log_min_messages=log', 'log_checkpoints=off',
  'max_wal_size=256MB'
]

// A standby says so once it answers reads.
const readiness = /database system is ready to accept (read-only )?connections/

// The server dies with the test process, however that dies. SIGQUIT ends all its processes and frees its memory.
const launch = async (folder: string, port: number, settings: readonly string[]): Promise<ChildProcess> => {
  const [command = '', ...args] = [
    ...asUnprivileged, 'setpriv', '--pdeathsig', 'QUIT', postgresBinary('postgres'), '-D', dataOf(folder),
    '-p', String(port), '-k', folder, ...[...defaults, ...settings].flatMap(setting => ['-c', setting])
  ]
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  for await (const chunk of child.stderr) {
    log += String(chunk)
    if (readiness.test(log)) {
      child.stderr.resume()
      return child
    }
  }
  throw new Error(`Postgres did not start: ${log}`)
}

/** A server and its process. */
export type Server = {
  port: number
  process: () => ChildProcess
  /** The URL of a database, as the superuser. */
  urlOf: (database: string) => string
  /** Runs statements as the superuser. */
  sql: (statement: string, database?: string) => Promise<pg.QueryResult>
  start: () => Promise<void>
  /** Ends it as a crash would. */
  kill: () => Promise<void>
  /** Ends it as an operator does, after the standby has what it wrote. */
  stop: () => Promise<void>
  /** Suspends all its processes, and returns once they have stopped: it takes connections, and answers nothing. */
  pause: () => void
  resume: () => void
}

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)

// undefined: it has ended.
const stateOf = (pid: number): string | undefined => {
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

// A process that was told to stop may still finish what it does in the kernel, such as sending an answer.
const waitUntilStopped = (pid: number): void => {
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  while (!['T', 'Z', undefined].includes(stateOf(pid))) Atomics.wait(nothing, 0, 0, 1)
}

const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended meanwhile.
  }
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

/** A server on the data of a folder, which is not started yet. `settings`: more of them, like `wal_level=logical`. */
export const createServer = async (folder: string, settings: readonly string[] = []): Promise<Server> => {
  const port = await freePort()
  let child: ChildProcess | undefined
  const running = (): ChildProcess => {
    if (child === undefined) throw new Error('the server was not started')
    return child
  }
  const isRunning = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null
  // It ends after all its processes.
  const end = async (name: NodeJS.Signals): Promise<void> => {
    if (!isRunning()) return
    const exit = once(running(), 'exit')
    server.resume()
    running().kill(name)
    await exit
  }
  const urlOf = (database: string) => `postgres://${superuser}@127.0.0.1:${port}/${database}`
  const server: Server = {
    port,
    process: running,
    urlOf,
    sql: (statement, database = superuser) => withClient(urlOf(database), client => client.query(statement)),
    start: async () => { child = await launch(folder, port, settings) },
    kill: () => end('SIGQUIT'),
    stop: () => end('SIGINT'),
    pause: () => {
      const { pid = 0 } = running()
      // The first process makes the others and removes them, so once it has stopped their list stays as it is.
      signal(pid, 'SIGSTOP')
      waitUntilStopped(pid)
      const children = childrenOf(pid)
      for (const each of children) signal(each, 'SIGSTOP')
      for (const each of children) waitUntilStopped(each)
    },
    resume: () => {
      const { pid = 0 } = running()
      for (const each of [...childrenOf(pid), pid]) signal(each, 'SIGCONT')
    }
  }
  return server
}
