import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

/*
 * What the peers need in addition to the project's own packages: their packages, and a running Postgres.
 */

const home = join(import.meta.dirname, 'peers')
const connectMsMax = 1000
const localPostgres = 'postgres://postgres@127.0.0.1:5432/postgres'

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

/** The URL of a Postgres that accepts connections: `POSTGRES_URL` or one on this machine. Null if there is none. */
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
