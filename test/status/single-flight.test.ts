import t from 'tap'
import { createSingleFlight } from '../../src/status/single-flight.ts'

/** Loads that a test ends by hand, in the order in which they began. */
const createLoads = () => {
  const begun: Array<{ key: string, resolve: (value: number) => void, reject: (error: Error) => void }> = []
  const load = (key: string) => new Promise<number>((resolve, reject) => { begun.push({ key, resolve, reject }) })
  return { begun, load }
}

const turn = async () => { await new Promise(resolve => { setImmediate(resolve) }) }

t.test('never joins a load that runs: a caller that comes then shares the next one', async t => {
  const { begun, load } = createLoads()
  const ask = createSingleFlight(load)
  const first = ask('a')
  const [second, third] = [ask('a'), ask('a')]
  t.equal(begun.length, 1)
  begun[0]?.resolve(1)
  t.equal(await first, 1)
  await turn()
  t.equal(begun.length, 2, 'one load for both who waited')
  begun[1]?.resolve(2)
  t.same(await Promise.all([second, third]), [2, 2])
})

t.test('a caller that comes while the next load runs waits for the one after it', async t => {
  const { begun, load } = createLoads()
  const ask = createSingleFlight(load)
  const first = ask('a')
  const second = ask('a')
  begun[0]?.resolve(1)
  await first
  await turn()
  const third = ask('a')
  begun[1]?.resolve(2)
  t.equal(await second, 2)
  await turn()
  t.equal(begun.length, 3)
  begun[2]?.resolve(3)
  t.equal(await third, 3)
})

t.test('keys do not affect each other, and are removed when their loads have ended', async t => {
  const { begun, load } = createLoads()
  const ask = createSingleFlight(load)
  const both = [ask('a'), ask('b')]
  t.same(begun.map(({ key }) => key), ['a', 'b'])
  begun[0]?.resolve(1)
  begun[1]?.resolve(2)
  t.same(await Promise.all(both), [1, 2])
  await turn()
  void ask('a')
  t.equal(begun.length, 3, 'a new load at once')
})

t.test('a failed load fails the callers that shared it, and no others', async t => {
  const { begun, load } = createLoads()
  const ask = createSingleFlight(load)
  const first = ask('a')
  const second = ask('a')
  begun[0]?.reject(new Error('no'))
  await t.rejects(first, /no/)
  await turn()
  begun[1]?.resolve(2)
  t.equal(await second, 2)
})
