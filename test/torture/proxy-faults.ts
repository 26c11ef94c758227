import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from '../helpers/random.ts'
import type { Direction, Wire } from './proxy.ts'

/*
 * What happens to the connections of one process to a server, whatever the server is.
 */

export const directions: readonly Direction[] = ['there', 'back']

/** Ends the connections of one proxy, a few times. */
export const cutSome = async (proxies: readonly Wire[], random: Random): Promise<void> => {
  const proxy = random.pick(proxies)
  for (let count = random.between(1, 4); count > 0; count--) {
    proxy.cut()
    await delay(random.between(20, 300))
  }
}

/** Ends the connections of one proxy, and accepts no others for up to `msMax`. */
export const refuseFor = async (proxies: readonly Wire[], random: Random, msMax: number): Promise<void> => {
  const proxy = random.pick(proxies)
  proxy.refuse(true)
  proxy.cut()
  await delay(random.between(100, msMax))
  proxy.refuse(false)
}

/** Delays one direction of one proxy. */
export const delayOne = async (
  proxies: readonly Wire[], random: Random, direction: Direction, delayMs: number
): Promise<void> => {
  const proxy = random.pick(proxies)
  proxy.delay(direction, delayMs)
  await delay(random.between(300, 2000))
  proxy.delay(direction, 0)
}
