import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Principal } from '../../../src/http/auth/principal.ts'
import { createWaitingClients, type WaitKind } from '../../../src/http/limits/waiting-clients.ts'

const minuteMs = 60_000

const toPrincipal = (tenant: string, expiresAt = Infinity): Principal =>
  ({ subject: tenant, tenant, scopes: [], allTenants: false, expiresAt })

const newResponse = (destroyed = false) => Object.assign(new EventEmitter(), { destroyed }) as unknown as ServerResponse

/** Waiting clients on a clock of the test: `pass` moves it. */
const open = (waitersMax: number) => {
  const timers = new Set<{ at: number, work: () => void }>()
  const clock = { ms: 1000 }
  const counts: Array<[WaitKind, number]> = []
  const waitingClients = createWaitingClients({
    waitersMax,
    now: () => clock.ms,
    schedule: (work, ms) => {
      const timer = { at: clock.ms + ms, work }
      timers.add(timer)
      return { cancel: () => { timers.delete(timer) } }
    },
    onCount: (kind, count) => { counts.push([kind, count]) }
  })
  const pass = (ms: number): void => {
    clock.ms += ms
    for (const timer of [...timers]) if (timer.at <= clock.ms && timers.delete(timer)) timer.work()
  }
  const admit = (tenant: string, expiresAt?: number) =>
    waitingClients.admit('long-poll', toPrincipal(tenant, expiresAt), minuteMs, newResponse())
  return { ...waitingClients, admitOf: admit, pass, timers, counts }
}

t.test('a wait ends at its limit, at the end of its token, with its client and with the process', async t => {
  const { admit, admitOf, pass, endAll } = open(10)
  const gone = newResponse()
  const waits = [
    admitOf('a'), admitOf('b', 31_000), admit('stream', toPrincipal('c'), Infinity, gone),
    admit('stream', toPrincipal('d'), Infinity, newResponse(true)), admit('feed', toPrincipal('e'), Infinity, newResponse())
  ]
  gone.emit('close')
  pass(30_000)
  pass(30_000)
  endAll()
  t.same(await Promise.all(waits.map(async wait => await wait?.ended)), [
    'limit', 'token-expired', 'disconnected', 'disconnected', 'draining'
  ])
  t.equal(admitOf('f'), null, 'from then on none waits')
})

t.test('one tenant holds at most half of the places', async t => {
  const { admitOf, counts } = open(4)
  const first = admitOf('a')
  t.ok(first !== null && admitOf('a') !== null)
  t.equal(admitOf('a'), null)
  t.ok(admitOf('b'))
  t.ok(admitOf('c'))
  t.equal(admitOf('d'), null, 'all places are taken')
  first?.leave()
  first?.leave()
  t.ok(admitOf('d'), 'a place that was left is free')
  t.equal(admitOf('e'), null)
  t.same(counts.map(([, count]) => count), [1, 2, 3, 4, 3, 4])
})

t.test('who leaves holds no timer and no listener', async t => {
  const { admit, timers } = open(4)
  const response = newResponse()
  const wait = admit('long-poll', toPrincipal('a'), minuteMs, response)
  t.equal(timers.size, 1)
  wait?.leave()
  t.equal(timers.size, 0)
  t.equal(response.listenerCount('close'), 0)
})

t.test('with no places nobody waits', async t => {
  t.equal(open(0).admitOf('a'), null)
})
