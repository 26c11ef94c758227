import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

/*
 * What the peers need beyond the project's own packages: theirs, and a Postgres that runs already.
 */

const home = join(import.meta.dirname, 'peers')
const connectMsMax = 1000
const localPostgres = 'postgres://postgres@127.0.0.1:5432/postgres'

const install = async (): Promise<string | null> => {
  // npm writes this file last, so a broken install is met again.
  if (existsSync(join(home, 'node_modules', '.package-lock.json'))) return null
  const npm = spawn('npm', ['ci', '--no-audit', '--no-fund', '--silent'], { cwd: home, stdio: ['ignore', 'ignore', 'inherit'] })
  const code = await once(npm, 'exit').then(([code]) => code as number | null, () => null)
  return code === 0 ? null : `npm ci failed in ${home}`
}

let installed: Promise<string | null> | undefined

/** Installs the packages of the peers where they are missing; resolves to why that failed, or to null. */
export const ensurePeers = (): Promise<string | null> => {
  installed ??= install()
  return installed
}

/** The URL of a Postgres that accepts connections, from `POSTGRES_URL` or on this machine; else null. */
export const findPostgres = async (): Promise<string | null> => {
  const url = process.env.POSTGRES_URL ?? localPostgres
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port || 5432), timeout: connectMsMax })
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(connectMsMax) })
    return url
  } catch {
    return null
  } finally {
    socket.destroy()
  }
}
