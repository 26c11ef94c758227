import type { Client } from './client.ts'
import { until } from './until.ts'

/*
 * Clients that wait: how many there are, by the metrics.
 */

/** How many clients wait with a long poll, or in another way. */
export const countWaiting = async ({ ask }: Pick<Client, 'ask'>, kind = 'long-poll'): Promise<number> => {
  const text = await (await ask('/metrics')).text()
  return Number(new RegExp(`^job_status_waiting_clients{kind="${kind}"} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
}

/** Resolves once exactly so many wait. */
export const awaitWaiting = (service: Pick<Client, 'ask'>, count: number, kind?: string) =>
  until(async () => await countWaiting(service, kind) === count, `${count} waiting clients`)
