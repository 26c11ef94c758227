import t from 'tap'
import { createRounds } from '../../src/background/rounds.ts'

/** Rounds that the test ends. */
const openRounds = () => {
  const underWay: Array<{ end: () => void, fail: (error: Error) => void }> = []
  const rounds = createRounds(() => new Promise((resolve, reject) => { underWay.push({ end: resolve, fail: reject }) }))
  return { ...rounds, underWay }
}

t.test('one round is under way at a time, and however many calls come meanwhile, one follows', async t => {
  const { wake, underWay } = openRounds()
  const done = [wake(), wake(), wake()]
  t.equal(underWay.length, 1)
  underWay[0]?.end()
  await new Promise(resolve => { setImmediate(resolve) })
  t.equal(underWay.length, 2)
  underWay[1]?.end()
  await Promise.all(done)
  t.equal(underWay.length, 2)
})

t.test('a call is followed by a round, in whatever turn it comes while one ends', async t => {
  let found = 0
  let isThere = false
  const { wake, ended } = createRounds(async () => {
    if (isThere) found++
    isThere = false
    await Promise.resolve()
  })
  for (let turns = 0; turns < 10; turns++) {
    const first = wake()
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    isThere = true
    await wake()
    await first
    t.equal(found, turns + 1, `${turns} turns after the round began`)
  }
  await ended()
})

t.test('a round that fails rejects for all that wait for it, and the next call begins another', async t => {
  const { wake, ended, underWay } = openRounds()
  const done = Promise.allSettled([wake(), wake()])
  const over = ended()
  underWay[0]?.fail(new Error('away'))
  t.match(await done, [{ reason: { message: 'away' } }, { reason: { message: 'away' } }])
  await over
  const next = wake()
  t.equal(underWay.length, 2)
  underWay[1]?.end()
  await next
})
