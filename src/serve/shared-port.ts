import { readFileSync } from 'node:fs'

/*
 * A port on which several processes listen. The kernel gives each new connection to one of them and queues it there
 * until that process accepts it. When a process stops listening, Linux resets the connections that are still queued, or
 * gives them to another process if net.ipv4.tcp_migrate_req is 1. A process cannot avoid the resets by itself: waiting
 * for an iteration of the event loop without a new connection before it stopped listening did not help on a busy
 * machine.
 */

const setting = '/proc/sys/net/ipv4/tcp_migrate_req'

/** The warning for an operator whose kernel resets the queued connections of a process that stops listening. */
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
