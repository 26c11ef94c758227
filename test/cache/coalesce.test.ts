import t from 'tap'
import { createCoalescer } from '../../src/cache/coalesce.ts'

const createCounted = () => {
  const runs: string[][] = []
  const batch = createCoalescer(async (items: string[]) => {
    runs.push(items)
    if (items.includes('bad')) throw new Error('the run failed')
    return items.map(item => `${item}!`)
  })
  return { runs, batch }
}

t.test('items of one tick run together, and each caller gets its own result', async t => {
  const { runs, batch } = createCounted()
  t.same(await Promise.all(['a', 'b', 'c'].map(batch)), ['a!', 'b!', 'c!'])
  t.same(runs, [['a', 'b', 'c']])
  t.equal(await batch('d'), 'd!')
  t.same(runs, [['a', 'b', 'c'], ['d']])
})

t.test('items that follow from one response, some microtasks later, still run together', async t => {
  const { runs, batch } = createCounted()
  const after = async (item: string, steps: number) => {
    await batch(item)
    for (let step = 0; step < steps; step++) await Promise.resolve()
    return await batch(`${item}2`)
  }
  await Promise.all([after('a', 0), after('b', 3), after('c', 7)])
  t.same(runs, [['a', 'b', 'c'], ['a2', 'b2', 'c2']])
})

t.test('equal items share one result, but never that of a run under way', async t => {
  const { runs, batch } = createCounted()
  const [first, second] = [batch('a'), batch('a')]
  t.equal(await first, 'a!')
  t.equal(await second, 'a!')
  t.same(runs, [['a']])
  let release = () => {}
  const started: string[][] = []
  const slow = createCoalescer(async (items: string[]) => {
    started.push(items)
    await new Promise<void>(resolve => { release = resolve })
    return items
  })
  const early = slow('a')
  await new Promise(resolve => { setImmediate(resolve) })
  const late = slow('a')
  await new Promise(resolve => { setImmediate(resolve) })
  t.same(started, [['a'], ['a']], 'a call while it runs starts another run')
  release()
  await late
  t.not(early, late)
})

t.test('a run that fails fails for all its items, and for none after it', async t => {
  const { batch } = createCounted()
  const results = await Promise.allSettled([batch('good'), batch('bad')])
  t.same(results.map(({ status }) => status), ['rejected', 'rejected'])
  t.equal(await batch('good'), 'good!')
})
