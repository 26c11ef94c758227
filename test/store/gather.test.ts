import t from 'tap'
import { createGather } from '../../src/store/gather.ts'

type Read = { ids: string[], answer: (state: string) => void }

/** Reads that the test answers, each with the state of one moment. */
const gather = (atOnceMax: number, askedMax = 10) => {
  const reads: Read[] = []
  const find = createGather<string, string>(ids => new Promise(resolve => {
    reads.push({ ids, answer: state => { resolve(ids.map(id => `${id} ${state}`)) } })
  }), id => id, { atOnceMax, askedMax })
  // Reads begin at the end of a turn of the event loop.
  const begun = async () => {
    await new Promise(resolve => { setImmediate(resolve) })
    return reads.map(({ ids }) => ids)
  }
  return { find, begun, answer: (index: number, state: string) => { reads[index]?.answer(state) } }
}

t.test('what is asked for in one turn is one read, and each id is in it once', async t => {
  const { find, begun, answer } = gather(2)
  const found = Promise.all(['a', 'b', 'a'].map(find))
  t.strictSame(await begun(), [['a', 'b']])
  answer(0, 'now')
  t.strictSame(await found, ['a now', 'b now', 'a now'])
})

for (const atOnceMax of [1, 2]) {
  t.test(`no read answers what was asked for after it began, with ${atOnceMax} at once`, async t => {
    const { find, begun, answer } = gather(atOnceMax)
    const before = find('a')
    await begun()
    // A client has seen a later state, of another process, and asks.
    const after = find('a')
    const isSecondBegun = (await begun()).length === 2
    t.equal(isSecondBegun, atOnceMax === 2, 'the second one begins as soon as it may')
    answer(0, 'of before')
    t.equal(await before, 'a of before')
    t.strictSame(await begun(), [['a'], ['a']])
    answer(1, 'of after')
    t.equal(await after, 'a of after')
  })
}

t.test('no more reads are under way than may be, and no read has more ids than it may', async t => {
  const { find, begun, answer } = gather(2, 2)
  const found = Promise.all(['a', 'b', 'c', 'd', 'e'].map(find))
  t.strictSame(await begun(), [['a', 'b'], ['c', 'd']])
  answer(1, 'x')
  t.strictSame(await begun(), [['a', 'b'], ['c', 'd'], ['e']])
  answer(0, 'y')
  answer(2, 'z')
  t.strictSame(await found, ['a y', 'b y', 'c x', 'd x', 'e z'])
})

t.test('a read that fails fails what it was to answer, and no other', async t => {
  const failures = [new Error('gone'), null]
  const find = createGather<string, string>(async ids => {
    const failure = failures.shift()
    if (failure) throw failure
    return ids
  }, id => id, { atOnceMax: 1, askedMax: 1 })
  const both = await Promise.allSettled(['a', 'b'].map(find))
  t.match(both, [{ status: 'rejected', reason: { message: 'gone' } }, { status: 'fulfilled', value: 'b' }])
})

t.test('of questions with the same key the latest is read, and answers all of them', async t => {
  const reads: Array<Array<{ types: string, now: number }>> = []
  const find = createGather(async (asked: Array<{ types: string, now: number }>) => {
    reads.push(asked)
    return asked.map(({ types, now }) => `${types} at ${now}`)
  }, ({ types }) => types, { atOnceMax: 1, askedMax: 10 })
  const found = Promise.all([{ types: 'a', now: 1 }, { types: 'b', now: 1 }, { types: 'a', now: 2 }].map(find))
  t.strictSame(await found, ['a at 2', 'b at 1', 'a at 2'])
  t.equal(reads.length, 1)
})
