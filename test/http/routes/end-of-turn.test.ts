import { setImmediate as endOfTurn } from 'node:timers/promises'
import t from 'tap'
import { createBatchPerTick } from '../../../src/http/routes/end-of-turn.ts'

t.test('work of one turn is done in its order, at its end; what comes of it, at the end of the next', async t => {
  const atEndOfTurn = createBatchPerTick()
  const done: string[] = []
  atEndOfTurn(() => {
    done.push('a')
    atEndOfTurn(() => { done.push('of a') })
  })
  atEndOfTurn(() => { done.push('b') })
  t.same(done, [])
  await endOfTurn()
  t.same(done, ['a', 'b'])
  await endOfTurn()
  t.same(done, ['a', 'b', 'of a'])
})
