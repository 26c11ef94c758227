import { readFileSync } from 'node:fs'

/*
 * A port on which several processes listen. The kernel gives each new connection to one of them, where it waits until
 * the process accepts it. If the process stops listening before that, Linux resets the connection, unless it was told
 * to give it to another process. No process can prevent that by itself: to stop listening only after a turn of the
 * event loop in which no client connected was tried, and did not help on a busy machine.
 */

const setting = '/proc/sys/net/ipv4/tcp_migrate_req'

/** What to tell an operator whose kernel resets connections that wait for a process which stops listening. */
export const resetsWaiting = 'connections that wait for a process while it stops listening are reset: ' +
  'net.ipv4.tcp_migrate_req=1 gives them to another one'

/** Whether this kernel could give them to another process, and does not. False if it does not say so. */
export const isMigrationOff = (): boolean => {
  try {
    return readFileSync(setting, 'utf8').trim() === '0'
  } catch {
    return false
  }
}
