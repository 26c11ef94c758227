import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Rule } from '../torture/checker.ts'
import { runTorture } from '../torture/torture.ts'

/*
 * The torture finds a service that breaks a rule. Two rules whose breach shows soon; the others are slower:
 * npm run torture -- --fault joined-reads --only evict, or set-if-newer.
 */

const limitMs = 60_000

const find = async (t: Test, fault: string, stopAt: Rule, only: readonly string[]) => {
  const { violations } = await runTorture({
    seed: 1,
    durationMs: limitMs,
    processes: 2,
    folder: t.testdir(),
    imports: [join(import.meta.dirname, '../torture/faults', `${fault}.ts`)],
    only,
    stopAt
  })
  const found = violations.find(({ rule }) => rule === stopAt)
  t.ok(found, `found after ${((found?.at ?? 0) / 1000).toFixed(1)} s: ${found?.text ?? 'nothing'}`)
}

t.test('without the relay, changes by others come too late', async t => { await find(t, 'no-relay', 'late', []) })

t.test('with the same cells after a lost reply, versions go backward', async t => {
  await find(t, 'same-epoch', 'backward', ['cut', 'past the deadline'])
})
