import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, globSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

// Each binary with its Debian package. The tests start Redis and Postgres servers that end with the tests (setpriv), a
// pooler, make certificates with openssl, read databases with sqlite3 and run the examples of the documents with curl.
const needed = {
  'redis-server': 'redis-server',
  initdb: 'postgresql',
  pgbouncer: 'pgbouncer',
  openssl: 'openssl',
  sqlite3: 'sqlite3',
  curl: 'curl',
  setpriv: 'util-linux'
}

// Debian keeps the programs of the server out of PATH, a folder for each version.
const postgresFolders = '/usr/lib/postgresql/*/bin'

// Debian starts the services of a package it installs, unless this script exists and exits with 101.
const policyPath = '/usr/sbin/policy-rc.d'

/** Where a program is on PATH; undefined: nowhere. */
export function findOnPath (binary: string): string | undefined {
  return (process.env.PATH ?? '').split(delimiter).map(dir => join(dir, binary)).find(path => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function isOnPath (binary: string): boolean {
  return findOnPath(binary) !== undefined
}

type PostgresBinary = 'initdb' | 'postgres' | 'pg_basebackup' | 'pg_dump' | 'pg_restore' | 'psql'

/** Where a program of Postgres is: on PATH, or in Debian's folder of the newest version. */
export function postgresBinary (binary: PostgresBinary): string {
  const installed = globSync(`${postgresFolders}/${binary}`)
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  return installed ?? binary
}

// Where Debian keeps servers; it is not on the PATH of every user.
const serverFolder = '/usr/sbin'

/** Where the pooler is. */
export const pgbouncerBinary = (): string =>
  isOnPath('pgbouncer') ? 'pgbouncer' : join(serverFolder, 'pgbouncer')

function isInstalled (binary: string): boolean {
  return isOnPath(binary) || existsSync(join(serverFolder, binary)) ||
    (binary === 'initdb' && existsSync(postgresBinary(binary)))
}

function aptInstall (packages: string[]): void {
  const run = (...args: string[]): void => {
    execFileSync('apt-get', args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    })
  }
  const ownPolicy = !existsSync(policyPath)
  if (ownPolicy) writeFileSync(policyPath, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    run('update', '-qq')
    run('install', '-qq', '-y', '--no-install-recommends', ...packages)
  } finally {
    if (ownPolicy) rmSync(policyPath)
  }
}

/**
 * Ensures that the programs which the tests start are installed, and those named beside them. On Debian, as root, it
 * installs what is missing; elsewhere it throws an error of one line that says how to install it.
 */
export function ensureBinaries (others: Record<string, string> = {}): void {
  const missing = Object.entries({ ...needed, ...others }).filter(([binary]) => !isInstalled(binary))
  if (missing.length === 0) return
  const packages = missing.map(([, name]) => name)
  const binaries = missing.map(([binary]) => binary).join(' and ')
  const hint = `the tests need ${binaries}: install ${packages.join(' ')}, for example with apt-get, and try again`
  if (process.getuid?.() !== 0 || !isOnPath('apt-get')) throw new Error(hint)
  console.error(`test: installing ${packages.join(' and ')} with apt-get`)
  try {
    aptInstall(packages)
  } catch (error) {
    throw new Error(hint, { cause: error })
  }
  if (missing.some(([binary]) => !isInstalled(binary))) throw new Error(hint)
}
