import { on } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { mutants } from './interleavings/mutants.ts'
import { type Placement, placements } from './interleavings/mutant.ts'
import type { Order, Report } from './interleavings/worker.ts'

/*
 * The real code of src/status in every order that its awaits allow: each command to the cache and each read of the store
 * waits twice to be chosen by fast-check's scheduler, before it takes effect and before its answer is known; so does each
 * read of the rows of the epoch. Commands fail without having run, after having run, and run after having failed.
 *
 * INTERLEAVING_RUNS multiplies the runs; INTERLEAVING_SEED and INTERLEAVING_PATH, as a failure prints them, repeat one.
 */

const times = Number(process.env.INTERLEAVING_RUNS ?? '1')
const seed = Number(process.env.INTERLEAVING_SEED ?? Date.now() % 2 ** 31)
const path = process.env.INTERLEAVING_PATH ?? null

const runsOfEach = 1500
// The hardest to see are caught after a thousand or so.
const mutantRunsMax = 20_000

const carryOut = async function * (orders: readonly Order[]): AsyncGenerator<[Order, Report]> {
  const worker = new Worker(new URL('interleavings/worker.ts', import.meta.url), { workerData: orders })
  const reports = on(worker, 'message', { close: ['exit'] })
  for (const order of orders) {
    const next = await reports.next()
    if (next.done === true) throw new Error('the thread ended early')
    yield [order, (next.value as [Report])[0]]
  }
}

const names = Object.keys(mutants) as Array<keyof typeof mutants>
const worseIn = (placement: Placement) => names.filter(
  name => mutants[name].placements.some(place => place === placement)
)

for (const placement of placements) {
  const where = placement === 'memory' ? 'with the cache in memory' : 'in two processes that share a cache'

  t.test(`no answer goes back in time, ${where}`, async t => {
    const asked = Math.ceil(runsOfEach * times)
    const [[, { failure, runs, steps, events }]] = await Array.fromAsync(
      carryOut([{ placement, mutant: null, runs: asked, seed, path }])) as [[Order, Report]]
    if (failure !== null) {
      t.comment(failure)
      return t.fail(`INTERLEAVING_SEED=${seed}, and for INTERLEAVING_PATH the path above`)
    }
    t.comment(`${runs} runs, ${steps} steps, INTERLEAVING_SEED=${seed}`)
    t.comment(`what happened: ${JSON.stringify(events)}`)
    if (path !== null) return
    t.equal(runs, asked)
    const expected = ['cache', 'store', 'expected a miss', 'bypassed', 'relayed', 'waited', 'waited in vain', 'event', 'refused', 'lost', 'late', 'rolled back', ...placement === 'shared'
      ? ['on', 'warm', 'off', 'unanswered']
      : []]
    for (const event of expected) t.ok((events[event] ?? 0) * 10 > runs, `${event} happened often`)
  })

  t.test(`a broken rule is found, ${where}`, { skip: path !== null }, async t => {
    const orders = worseIn(placement).map(mutant => ({ placement, mutant, runs: mutantRunsMax, seed, path: null }))
    for await (const [{ mutant }, { reason, runs }] of carryOut(orders)) {
      t.match(reason.split('\n').at(0), /was revealed before it started|with floor|is not newer|was not woken|was never answered/, `${mutant}: after ${runs} runs`)
    }
  })
}
