import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { together } from '../../src/store/together.ts'

t.test('returns the answers in the order of the statements', async t => {
  const { promise: first, resolve } = Promise.withResolvers<string>()
  const both = together(first, Promise.resolve(2), undefined)
  resolve('one')
  t.same(await both, ['one', 2, undefined])
})

t.test('throws the first failure once every statement has ended', async t => {
  const { promise: slow, resolve } = Promise.withResolvers<number>()
  const [first, second] = [new Error('first'), new Error('second')]
  let isOver = false
  const failed = together(slow, Promise.reject(first), Promise.reject(second)).catch((error: unknown) => {
    isOver = true
    return error
  })
  await nextTurn()
  t.equal(isOver, false)
  resolve(1)
  t.equal(await failed, first)
})
