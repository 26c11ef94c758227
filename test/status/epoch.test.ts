import t, { type Test } from 'tap'
import { createEpoch, createFixedEpoch, type EpochStatus } from '../../src/status/epoch.ts'

/** An epoch on a clock that the test moves, before a cache server that the test plays. */
const setUp = () => {
  let time = 1000
  let ids = 0
  let server: string | Error = 'run-1'
  let timers: Array<{ at: number, work: () => void }> = []
  const changes: EpochStatus[] = []
  const identifications: number[] = []
  let held = false
  let release: (server: string) => void = () => {}
  const epoch = createEpoch({
    identify: () => {
      identifications.push(time)
      if (held) return new Promise(resolve => { release = resolve })
      return typeof server === 'string' ? Promise.resolve(server) : Promise.reject(server)
    },
    randomId: () => `e${ids++}`,
    now: () => time,
    schedule: (work, ms) => {
      const timer = { at: time + ms, work }
      timers.push(timer)
      return { cancel: () => { timers = timers.filter(other => other !== timer) } }
    },
    onChange: status => { changes.push(status) }
  })
  /** Moves the clock and runs what came due. */
  const pass = async (ms: number) => {
    const end = time + ms
    for (;;) {
      const next = timers.filter(timer => timer.at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      timers = timers.filter(timer => timer !== next)
      time = next.at
      next.work()
      await new Promise(resolve => { setImmediate(resolve) })
    }
    time = end
  }
  return {
    epoch,
    changes,
    identifications,
    pass,
    timers: () => timers,
    become: (next: string | Error) => { server = next },
    /** The next look gets no answer until it is let go. */
    hold: () => { held = true },
    letGo: (answer: string) => {
      held = false
      release(answer)
    }
  }
}

const started = async (_t: Test) => {
  const parts = setUp()
  await parts.epoch.start()
  return parts
}

t.test('begins off, and is on once the server has shown that it works', async t => {
  const { epoch, changes } = setUp()
  t.equal(epoch.view().mode, 'off')
  await epoch.start()
  t.equal(epoch.view().mode, 'on')
  t.match(changes, [{ mode: 'on', reason: null }])
})

t.test('a server that is away from the start is told once, with the reason', async t => {
  const { epoch, become, changes, pass } = setUp()
  become(new Error('ECONNREFUSED'))
  await epoch.start()
  await pass(5000)
  t.match(changes, [{ mode: 'off', reason: 'ECONNREFUSED' }])
  t.equal(changes.length, 1)
  become('run-1')
  await pass(2000)
  t.equal(epoch.view().mode, 'on')
})

t.test('a trip ends the epoch at once, for good', async t => {
  const { epoch, changes, pass } = await started(t)
  const before = epoch.view()
  epoch.trip(before, 'a reply was lost')
  t.equal(epoch.view().mode, 'off')
  t.not(epoch.view().epoch, before.epoch)
  t.match(epoch.status(), { mode: 'off', reason: 'a reply was lost' })
  await pass(100)
  t.equal(epoch.view().mode, 'on')
  t.not(epoch.view().epoch, before.epoch, 'what late commands do to the old cells is of no concern')
  t.equal(changes.length, 3)
})

t.test('a trip by one who still held the old view does nothing', async t => {
  const { epoch, pass } = await started(t)
  const before = epoch.view()
  epoch.trip(before, 'first')
  await pass(100)
  const after = epoch.view()
  epoch.trip(before, 'late news of the same')
  t.equal(epoch.view(), after)
})

t.test('waits between trials grow up to two seconds while the server stays away, and nothing is logged twice', async t => {
  const { epoch, become, changes, identifications, pass } = await started(t)
  become(new Error('away'))
  epoch.trip(epoch.view(), 'lost')
  identifications.length = 0
  await pass(20_000)
  const waits = identifications.slice(1).map((at, index) => at - (identifications[index] ?? 0))
  t.same(waits.slice(0, 5), [200, 400, 800, 1600, 2000])
  t.ok(waits.slice(5).every(wait => wait === 2000))
  t.equal(changes.length, 2)
  become('run-1')
  await pass(2000)
  t.equal(epoch.view().mode, 'on')
})

t.test('a server that flaps is left alone for longer each time; one that held is tried soon', async t => {
  const { epoch, pass } = await started(t)
  const offFor = async () => {
    epoch.trip(epoch.view(), 'flap')
    let ms = 0
    for (; epoch.view().mode === 'off'; ms += 50) await pass(50)
    return ms
  }
  t.same([await offFor(), await offFor(), await offFor()], [100, 200, 400])
  await pass(10_000)
  t.equal(await offFor(), 100)
})

t.test('another server at the same address ends the epoch within a second', async t => {
  const { epoch, become, pass } = await started(t)
  const before = epoch.view()
  become('run-2')
  await pass(1000)
  t.not(epoch.view().epoch, before.epoch)
  t.equal(epoch.status().reason, 'another server')
  await pass(200)
  t.equal(epoch.view().mode, 'on', 'and is used then')
})

t.test('a server that no longer can be used is noticed without a request', async t => {
  const { epoch, become, pass } = await started(t)
  become(new Error('Redis is not a master'))
  await pass(1000)
  t.match(epoch.status(), { mode: 'off', reason: 'Redis is not a master' })
})

t.test('a look at the server that was under way at a trip does not keep it from coming back', async t => {
  const { epoch, pass, hold, letGo, become } = await started(t)
  hold()
  await pass(1000)
  epoch.trip(epoch.view(), 'a reply was lost')
  become(new Error('away'))
  letGo('run-1')
  await pass(0)
  become('run-1')
  await pass(2000)
  t.equal(epoch.view().mode, 'on')
})

t.test('stops for good', async t => {
  const { epoch, timers } = await started(t)
  epoch.stop()
  t.equal(timers().length, 0)
  epoch.trip(epoch.view(), 'x')
  t.equal(timers().length, 0)
})

t.test('the epoch of a cache in memory is always on, and a new one begins when its cells cannot be believed', t => {
  let ids = 0
  const epoch = createFixedEpoch(() => `e${ids++}`)
  const before = epoch.view()
  t.same(before, { epoch: 'e0', mode: 'on' })
  epoch.trip(before, 'a gap')
  epoch.trip(before, 'late news of the same')
  t.same(epoch.view(), { epoch: 'e1', mode: 'on' })
  t.end()
})
