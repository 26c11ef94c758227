import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Rule } from '../torture/rules.ts'
import { runTorture } from '../torture/torture.ts'

/*
 * The torture finds a service that breaks a rule: one that looks right otherwise, and whose breach shows only when
 * something fails at the wrong moment. What is broken meanwhile is what it takes.
 */

const limitMs = 60_000
t.setTimeout(7 * limitMs)

const backward: readonly Rule[] = ['backward', 'position-backward']

const find = async (t: Test, fault: string, stopAt: readonly Rule[], only: readonly string[], expected = /./) => {
  const { violations, figures } = await runTorture({
    seed: 1,
    durationMs: limitMs,
    processes: 2,
    folder: t.testdir(),
    entry: join(import.meta.dirname, '../torture/faults', `${fault}.ts`),
    only,
    // They make what is read newer, and the fault rarer, unless it is theirs.
    hasWaiters: stopAt.includes('unnoticed'),
    stopAt
  })
  const found = violations.find(({ rule }) => stopAt.includes(rule))
  t.match(
    found, { text: expected },
    `found after ${((found?.at ?? 0) / 1000).toFixed(1)} s and ${figures.operations} operations: ${found?.text ?? 'nothing'}`
  )
}

t.test('without the relay, changes by others come too late', async t => { await find(t, 'no-relay', ['late'], []) })

t.test('with the same cells after a lost reply, versions go backward', async t => {
  await find(t, 'same-epoch', backward, ['cut', 'past the deadline'])
})

t.test('with whatever is newer put into the cache, tokens or not, versions go backward', async t => {
  await find(t, 'set-if-newer', backward, ['hold fills'])
})

t.test('with readers that join a read under way, versions go backward', async t => {
  await find(t, 'joined-reads', backward, ['hold fills'])
})

t.test('with waits that changes by others do not end, changes are noticed too late', async t => {
  await find(t, 'lost-wakes', ['unnoticed'], [])
})

t.test('a read in a hundred that is never answered is noticed', async t => {
  await find(t, 'hanging-reads', ['answer'], [], /: -1 /)
})
