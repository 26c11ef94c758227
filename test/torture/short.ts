import type { Test } from 'tap'
import { runTorture, type TortureOptions } from './torture.ts'

/*
 * The short form of `npm run torture`, as a test: whatever else runs on the machine, nothing may go backward or be lost.
 * Whether changes are seen in time is for the long form, alone on the machine. TORTURE_SEED, as a failure prints it,
 * repeats the order of the faults; TORTURE_SECONDS and TORTURE_PROCESSES change its size.
 */

const seed = Number(process.env.TORTURE_SEED ?? Date.now() % 2 ** 31)
const processes = Number(process.env.TORTURE_PROCESSES ?? '2')

/** Runs one round, and requires that it finds nothing. */
export const runShort = async (
  t: Test, secondsDefault: number, options: Pick<TortureOptions, 'database' | 'only' | 'burstSize'> = {}
): Promise<void> => {
  const seconds = Number(process.env.TORTURE_SECONDS ?? secondsDefault)
  const { violations, figures } = await runTorture({
    seed,
    durationMs: seconds * 1000,
    processes,
    folder: t.testdir(),
    judgesTimes: false,
    log: text => { t.comment(text) },
    ...options
  })
  t.comment(`TORTURE_SEED=${seed} ${JSON.stringify(figures)}`)
  t.same(violations.slice(0, 10), [], `TORTURE_SEED=${seed} TORTURE_SECONDS=${seconds} TORTURE_PROCESSES=${processes}`)
  t.ok(figures.operations > 100 && figures.claims > 0 && figures.foreignWrites > 0, 'there was something to judge')
  t.ok(Object.keys(figures.faults).length > 0, 'things were broken')
}
