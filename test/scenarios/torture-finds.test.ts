import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Rule } from '../torture/rules.ts'
import { type Finding, isOf, runTorture } from '../torture/torture.ts'

/*
 * The torture finds a service that breaks a rule: one that looks right otherwise, and whose breach shows only when
 * something fails at the wrong moment. What is broken meanwhile is what it takes.
 */

// What is looked for is found in some 20 seconds, and later on a busy machine.
const limitMs = 180_000
t.setTimeout(9 * limitMs)

const any = /./
const backward: Finding = { rules: ['backward', 'position-backward'], text: any }
const rulesOfWaits: readonly Rule[] = ['early', 'unnoticed', 'missed', 'fallen']

const find = async (t: Test, fault: string, only: readonly string[], ...stopAt: Finding[]) => {
  const { violations, figures } = await runTorture({
    seed: 1,
    durationMs: limitMs,
    processes: 2,
    folder: t.testdir(),
    entry: join(import.meta.dirname, '../torture/faults', `${fault}.ts`),
    only,
    // They make what is read newer, and the fault rarer, unless it is theirs.
    hasWaiters: stopAt.some(({ rules }) => rules.some(rule => rulesOfWaits.includes(rule))),
    judgesTimes: true,
    stopAt
  })
  for (const finding of stopAt) {
    const found = violations.find(violation => isOf(violation, finding))
    const [seconds, which] = found === undefined
      ? [figures.tookMs / 1000, `nothing of ${finding.rules.join()} ${String(finding.text)}`]
      : [found.at / 1000, found.text]
    t.ok(found, `after ${seconds.toFixed(1)} s, of ${figures.operations} operations in all: ${which}`)
  }
}

t.test('without the relay, changes by others come too late', async t => { await find(t, 'no-relay', [], { rules: ['late'], text: any }) })

t.test('with the same cells after a lost reply, versions go backward', async t => {
  await find(t, 'same-epoch', ['cut', 'past the deadline'], backward)
})

t.test('with whatever is newer put into the cache, tokens or not, versions go backward', async t => {
  await find(t, 'set-if-newer', ['hold fills'], backward)
})

t.test('with readers that join a read under way, versions go backward', async t => {
  await find(t, 'joined-reads', ['hold fills'], backward)
})

t.test('with waits that changes by others do not end, changes are noticed too late', async t => {
  await find(t, 'lost-wakes', [], { rules: ['unnoticed'], text: any })
})

t.test('streams, waits of submissions and followers of the feed that miss what they wait for are found', async t => {
  await find(t, 'careless-waits', [],
    { rules: ['unnoticed'], text: / events (v1|task) / },
    { rules: ['early'], text: / submit and wait / },
    { rules: ['missed'], text: /, pages of process / },
    { rules: ['missed'], text: /, a stream of process / })
})

t.test('a feed that skips changes, or shows a job as it was before, is found', async t => {
  await find(t, 'careless-feed', [],
    { rules: ['missed'], text: /, pages of process / },
    { rules: ['missed'], text: /, a stream of process / },
    { rules: ['backward'], text: / mirror \d: (page|events) / },
    { rules: ['fallen'], text: any })
})

t.test('a read in a hundred that is never answered is noticed', async t => {
  await find(t, 'hanging-reads', [], { rules: ['answer'], text: /: -1 / })
})
