import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pgbouncerBinary } from '../../scripts/services.ts'
import { freePort } from './redis.ts'

const user = 'postgres'

/**
 * Starts a pgbouncer before a server on 127.0.0.1, which ends with the test. `settings`: more of its configuration.
 * Returns its port.
 */
export const startPgbouncer = async (
  t: { teardown: (close: () => unknown) => void }, serverPort: number, settings: readonly string[]
): Promise<number> => {
  const [folder, port] = [mkdtempSync(join(tmpdir(), 'job-status-pgbouncer-')), await freePort()]
  const file = join(folder, 'pgbouncer.ini')
  writeFileSync(join(folder, 'users.txt'), `"${user}" ""\n`)
  writeFileSync(file, [
    '[databases]',
    `* = host=127.0.0.1 port=${serverPort}`,
    '[pgbouncer]',
    `listen_port = ${port}`,
    'listen_addr = 127.0.0.1',
    'unix_socket_dir =',
    'auth_type = trust',
    `auth_file = ${join(folder, 'users.txt')}`,
    ...settings
  ].join('\n'))
  chmodSync(folder, 0o755)
  if (process.getuid?.() === 0) execFileSync('chown', ['-R', user, folder])
  // It does not run as root.
  const asUser = process.getuid?.() === 0 ? ['--reuid', user, '--regid', user, '--init-groups'] : []
  const child = spawn('setpriv', [...asUser, '--pdeathsig', 'KILL', pgbouncerBinary(), file], { stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(async () => {
    if (child.exitCode === null) {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    }
    rmSync(folder, { recursive: true })
  })
  let log = ''
  for await (const chunk of child.stderr) {
    log += String(chunk)
    if (log.includes('process up')) {
      child.stderr.resume()
      return port
    }
  }
  throw new Error(`pgbouncer did not start: ${log}`)
}
