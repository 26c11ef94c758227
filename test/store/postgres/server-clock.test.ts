import t from 'tap'
import { createServerClock } from '../../../src/store/postgres/server-clock.ts'

const serverMs = 1_800_000_000_000

t.test("follows the server's clock, whatever the own one says", t => {
  for (const aheadMs of [0, 40_000, -40_000, 3e11]) {
    let ownMs = serverMs + aheadMs
    const { now, observe } = createServerClock(() => ownMs)
    observe(serverMs, { askedAt: ownMs - 2, answeredAt: ownMs + 2 })
    t.ok(Math.abs(now() - serverMs) <= 2, `${aheadMs}: ${now() - serverMs} ms`)
    ownMs += 500
    t.ok(Math.abs(now() - serverMs - 500) <= 2, 'between two answers it goes on')
  }
  t.end()
})

t.test('a slow answer is no difference, and no answer moves the clock by more than it has to', t => {
  const { now, observe } = createServerClock(() => serverMs)
  observe(serverMs, { askedAt: serverMs - 3000, answeredAt: serverMs + 3000 })
  t.equal(now(), serverMs)
  observe(serverMs - 100, { askedAt: serverMs, answeredAt: serverMs + 20 })
  t.equal(now(), serverMs - 100)
  observe(serverMs - 110, { askedAt: serverMs - 5, answeredAt: serverMs })
  t.equal(now(), serverMs - 105)
  observe(serverMs - 102, { askedAt: serverMs - 5, answeredAt: serverMs + 5 })
  t.equal(now(), serverMs - 105)
  t.end()
})
