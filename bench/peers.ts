import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/*
 * What the peers need in addition to the project's own packages: packages of their own.
 */

const home = join(import.meta.dirname, 'peers')

const install = async (): Promise<string | null> => {
  // npm writes this file last, so an interrupted install is repeated.
  if (existsSync(join(home, 'node_modules', '.package-lock.json'))) return null
  const npm = spawn('npm', ['ci', '--no-audit', '--no-fund', '--silent'], {
    cwd: home, stdio: ['ignore', 'ignore', 'inherit']
  })
  const code = await once(npm, 'exit').then(([code]) => code as number | null, () => null)
  return code === 0 ? null : `npm ci failed in ${home}`
}

let installed: Promise<string | null> | undefined

/** Installs the packages of the peers if they are missing. Resolves to null, or to the reason why that failed. */
export const ensurePeers = (): Promise<string | null> => {
  installed ??= install()
  return installed
}
