import { parentPort, workerData } from 'node:worker_threads'
import fc from 'fast-check'
import { play, scripts } from './actions.ts'
import { mutants } from './mutants.ts'
import type { Mutant, Placement } from './mutant.ts'
import { openNodes } from './world.ts'

/*
 * A thread of its own, because a test file that is started without the runner watches each promise, which takes ten times
 * as long as what is done here.
 * It carries out its orders one after the other, and reports each: to start takes as long as to find most mutants.
 */

/** `mutant` null: the code as it is. `path` null: all of the runs, otherwise that one again. */
export type Order = {
  placement: Placement, mutant: keyof typeof mutants | null, runs: number, seed: number, path: string | null
}

/** `failure` null: every run ended well. `events`: how often what happened. `reason`: what was wrong, and the order of steps. */
export type Report = {
  failure: string | null, reason: string, runs: number, steps: number, events: Record<string, number>
}

const carryOut = async ({ placement, mutant, runs, seed, path }: Order): Promise<Report> => {
  let nodes = openNodes()
  let steps = 0
  const events: Record<string, number> = {}
  const onEvent = (event: string) => { events[event] = (events[event] ?? 0) + 1 }
  // By the number of an order, which is chosen here: a scheduler that fast-check hands out goes on where it was when a
  // smaller script is tried, so that the order in which it failed could not be had again.
  const broken: Partial<Mutant> = mutant === null ? {} : mutants[mutant]
  const property = fc.asyncProperty(fc.noShrink(fc.nat()), scripts[mutant === null ? 'any' : broken.scripts ?? 'reading'], async (order, script) => {
    const [scheduler] = fc.sample(fc.scheduler(), { seed: order, numRuns: 1 })
    if (scheduler === undefined) throw new Error('no scheduler')
    const wrongs = await play({ nodes, scheduler, script, placement, mutant: broken, onEvent })
    steps += scheduler.report().length
    if (wrongs.length === 0) return
    nodes = openNodes()
    throw new Error([...wrongs, 'in this order:', ...scheduler.report().map(({ label }) => `  ${label}`)].join('\n'))
  })
  // What a mutant does is of no interest, only that it shows.
  const details = await fc.check(property, {
    numRuns: runs, seed, endOnFailure: mutant !== null || path !== null, ...(path === null ? {} : { path })
  })
  const { failed, numRuns, errorInstance } = details
  const reason = errorInstance instanceof Error ? errorInstance.message : ''
  return {
    failure: failed ? [fc.defaultReportMessage(details), reason].join('\n') : null,
    reason,
    runs: numRuns,
    steps,
    events
  }
}

for (const order of workerData as Order[]) parentPort?.postMessage(await carryOut(order))
