import t from 'tap'
import { runTorture } from '../torture/torture.ts'

/*
 * The short form of `npm run torture`: processes that share a database and a Redis, while everything behind them is broken.
 *
 * TORTURE_SEED, as a failure prints it, repeats the order of the faults; TORTURE_SECONDS and TORTURE_PROCESSES change its size.
 */

const seed = Number(process.env.TORTURE_SEED ?? Date.now() % 2 ** 31)
const seconds = Number(process.env.TORTURE_SECONDS ?? '8')
const processes = Number(process.env.TORTURE_PROCESSES ?? '2')

t.test('nothing that was answered is taken back, whatever breaks', async t => {
  const { violations, figures } = await runTorture({
    seed, durationMs: seconds * 1000, processes, folder: t.testdir(), log: text => { t.comment(text) }
  })
  t.comment(`TORTURE_SEED=${seed} ${JSON.stringify(figures)}`)
  t.same(violations.slice(0, 10), [], `TORTURE_SEED=${seed} TORTURE_SECONDS=${seconds} TORTURE_PROCESSES=${processes}`)
  t.ok(figures.operations > 100 && figures.claims > 0 && figures.foreignWrites > 0, 'there was something to judge')
  t.ok(Object.keys(figures.faults).length > 0, 'things were broken')
})
