import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

// Binary and the Debian package that brings it: the tests start their own Redis, which dies with them, read databases from
// outside, and execute the walkthrough of the documents.
const needed = { 'redis-server': 'redis-server', sqlite3: 'sqlite3', curl: 'curl', setpriv: 'util-linux' }

// Debian starts a service it installs unless this script forbids it; the tests start their own.
const policyPath = '/usr/sbin/policy-rc.d'

function isOnPath (binary: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some(dir => {
    try {
      accessSync(join(dir, binary), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
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
 * Sees to it that the programs the tests start are there: installs them where that can be done unasked
 * (Debian, as root) and otherwise throws one line that says how.
 */
export function ensureBinaries (): void {
  const missing = Object.entries(needed).filter(([binary]) => !isOnPath(binary))
  if (missing.length === 0) return
  const packages = missing.map(([, name]) => name)
  const hint = `the tests need ${missing.map(([binary]) => binary).join(' and ')}: apt-get install ${packages.join(' ')} (or the like) and try again`
  if (process.getuid?.() !== 0 || !isOnPath('apt-get')) throw new Error(hint)
  console.error(`test: installing ${packages.join(' and ')} with apt-get`)
  try {
    aptInstall(packages)
  } catch (error) {
    throw new Error(hint, { cause: error })
  }
  if (missing.some(([binary]) => !isOnPath(binary))) throw new Error(hint)
}
