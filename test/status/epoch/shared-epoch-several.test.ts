import fc from 'fast-check'
import t, { type Test } from 'tap'
import { otherRedis } from '../../../src/status/epoch/local-view.ts'
import { createWorld, type Node, type World } from './epoch-world.ts'
import { passUntil, reveals, together } from './processes.ts'

t.test('a process that joins begins an epoch, and all come to use it by way of warm', async t => {
  const world = await createWorld(t)
  const first = await world.start()
  const before = first.epoch.view()
  t.equal(before.mode, 'on')
  const second = await world.start()
  t.equal(second.mode(), 'off')
  t.equal(await second.mayReveal(), false, 'the first may still read its old cells')
  await passUntil(world, () => first.mode() === 'on' && second.mode() === 'on')
  t.same(first.epoch.view(), second.epoch.view())
  t.not(first.epoch.view().epoch, before.epoch)
  t.same(first.changes.map(({ mode }) => mode), ['on', 'off', 'warm', 'on'])
  t.same(second.changes.map(({ mode }) => mode), ['warm', 'on'])
})

t.test('a process that trips reveals nothing until the others have acknowledged it, which takes less than a lease', async t => {
  const world = await together(t, 3)
  const { a, b, c } = world
  const old = a.epoch.view()
  a.epoch.trip(old, 'a reply was lost')
  t.equal(a.mode(), 'off')
  t.same([b.epoch.view(), c.epoch.view()], [old, old])
  t.equal(await a.mayReveal(), false)
  const waited = await reveals(world, a)
  t.ok(waited > 0 && waited < 300, `${waited} ms`)
  t.same([b.mode(), c.mode()], ['off', 'off'])
  t.match(b.epoch.status(), { mode: 'off', reason: 'a reply was lost' }, 'and all know why')
  await passUntil(world, () => world.nodes.every(node => node.mode() === 'on'))
})

t.test('a process that does not answer is waited for once, for as long as it could still act on its view', async t => {
  const world = await together(t)
  const { a, b } = world
  b.pause()
  const old = b.epoch.view()
  a.epoch.trip(a.epoch.view(), 'lost')
  await world.settle()
  await world.pass(800)
  t.equal(await a.mayReveal(), false)
  t.same(b.epoch.view(), old, 'it could still act on it')
  await reveals(world, a)
  t.equal(b.mode(), 'off', 'though it has not run since: its lease is over')
  t.equal(await reveals(world, a), 0, 'and the next waits for nothing')
  t.equal(await passUntil(world, () => a.mode() === 'on') < 4000, true, 'nor does the cache wait for it for long')
  b.resume()
  await passUntil(world, () => b.mode() === 'on')
  t.same(b.epoch.view(), a.epoch.view())
})

t.test('while the database does not accept a trip, the process reveals nothing', async t => {
  const world = await together(t)
  const { a, b, path, settle, pass } = world
  const { default: SqliteDatabase } = await import('better-sqlite3')
  const foreign = new SqliteDatabase(path)
  t.teardown(() => { foreign.close() })
  foreign.exec('BEGIN IMMEDIATE')
  a.epoch.trip(a.epoch.view(), 'lost')
  await settle()
  await pass(3000)
  t.equal(b.mode(), 'on', 'it cannot know of it')
  t.equal(await a.mayReveal(), false)
  foreign.exec('COMMIT')
  for (let i = 0; i < 1000 && world.rows().epoch.mode !== 'off'; i++) await settle()
  await reveals(world, a)
  t.equal(b.mode(), 'off')
})

t.test('a process that cannot coordinate in time responds STORE_UNAVAILABLE', async t => {
  const world = await together(t)
  const { a, pass } = world
  a.blind(true)
  await pass(1000)
  t.equal(a.mode(), 'off')
  t.match(a.epoch.status(), { mode: 'off', reason: /database/ })
  const rejected = t.rejects(a.epoch.awaitOldLeases(), { code: 'STORE_UNAVAILABLE', facts: { retryAfterSeconds: 1 } })
  await world.settle()
  await pass(6000)
  await rejected
  a.blind(false)
  await passUntil(world, () => a.mode() === 'on')
})

t.test('a process that cannot use the server keeps all from using it, and says so; a process that has ended does not', async t => {
  const world = await together(t)
  const { a, b, pass } = world
  b.redis(new Error('ECONNREFUSED'))
  b.epoch.disconnect('connection lost')
  await pass(10_000)
  t.same([a.mode(), b.mode()], ['off', 'off'])
  t.equal(await reveals(world, a), 0)
  t.equal(await reveals(world, b), 0)
  b.kill()
  await passUntil(world, () => a.mode() === 'on', 10_000)
  b.pause()
  await passUntil(world, () => world.rows().nodes.length === 1)
})

t.test('two processes with different servers use none, and report that once', async t => {
  const world = await createWorld(t)
  const first = await world.start()
  const second = await world.start({ redis: 'redis-2' })
  let modes = ''
  await world.pass(30_000, () => { modes += `${first.mode()} ${second.mode()},` })
  t.notMatch(modes, /on on|warm/)
  for (const node of [first, second]) {
    t.match(node.epoch.status(), { mode: 'off', reason: otherRedis })
    t.equal(node.changes.filter(({ reason }) => reason === otherRedis).length, 1)
    t.equal(await reveals(world, node), 0, 'the store answers alone')
  }
  second.redis('redis-1')
  await passUntil(world, () => first.mode() === 'on' && second.mode() === 'on')
})

t.test('a restart of the server that one process sees ends the epoch for all', async t => {
  const world = await together(t)
  const { a, b } = world
  const old = a.epoch.view()
  for (const node of [a, b]) node.redis('redis-1-again')
  await passUntil(world, () => a.mode() === 'off' && b.mode() === 'off', 1100)
  await passUntil(world, () => a.mode() === 'on' && b.mode() === 'on')
  t.not(a.epoch.view().epoch, old.epoch)
})

t.test('a process that was evicted enters again before it uses the cache', async t => {
  const world = await together(t)
  const { a, b, pass } = world
  b.pause()
  await passUntil(world, () => world.rows().nodes.length === 1, 40_000)
  t.equal(a.mode(), 'on', 'which changes nothing for the other')
  t.equal(b.mode(), 'off')
  t.equal(await b.mayReveal(), false)
  b.resume()
  await pass(100)
  t.equal(world.rows().nodes.length, 2)
  await passUntil(world, () => a.mode() === 'on' && b.mode() === 'on')
  t.same(a.epoch.view(), b.epoch.view())
})

t.test('a process that is not entered reveals nothing, because no other waits for it', async t => {
  const world = await together(t)
  const { a, b, pass } = world
  b.pause()
  await passUntil(world, () => world.rows().nodes.length === 1, 40_000)
  a.redis(new Error('away'))
  a.epoch.disconnect('connection lost')
  b.mute(true)
  b.resume()
  await pass(200)
  t.equal(world.rows().epoch.mode, 'off')
  t.equal(await b.mayReveal(), false)
  t.equal(await a.mayReveal(), true)
})

t.test('a process that can read the rows but not write is evicted, and waited for all the same', async t => {
  const world = await together(t)
  const { a, b, pass } = world
  b.mute(true)
  const isEntered = () => world.rows().nodes.some(({ node, isGone }) => node === b.name && isGone === 0)
  while (isEntered()) await pass(10, () => { if (!isEntered()) b.pause() })
  t.equal(b.mode(), 'on', 'it has not seen that')
  a.epoch.trip(a.epoch.view(), 'lost')
  await pass(100)
  t.equal(await a.mayReveal(), false)
  await reveals(world, a)
  t.equal(b.mode(), 'off')
})

t.test('a process that ends removes its row, so that the remaining one does not wait for it', async t => {
  const world = await together(t)
  const { a, b, pass } = world
  await b.epoch.stop()
  await pass(200)
  t.equal(a.mode(), 'on')
  a.epoch.trip(a.epoch.view(), 'lost')
  t.equal(await a.mayReveal(), true)
})

t.test('while the cache is in use a process writes a heartbeat every 5 s, and one that is alone writes nothing', async t => {
  const beats = (world: World) => world.rows().nodes.map(({ beat }) => beat)
  const alone = await createWorld(t)
  await alone.start()
  const before = beats(alone)
  await alone.pass(60_000)
  t.same(beats(alone), before)

  const world = await together(t, 2)
  const first = beats(world)
  await world.pass(60_000)
  for (const [index, beat] of beats(world).entries()) t.ok(beat - (first[index] ?? 0) <= 13, `${beat}`)
})

type Step = { kind: 'pass', ms: number } | {
  kind: 'reveal' | 'trip' | 'disconnect' | 'pause' | 'resume' | 'kill' | 'stop' | 'blind' | 'see' | 'mute' | 'speak' | 'start', who: number
} |
  { kind: 'redis', who: number, is: string } | { kind: 'slow', who: number, ms: number }

const who = fc.nat(3)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('pass'), ms: fc.constantFrom(1, 20, 50, 100, 300, 900, 1000, 1200, 4000, 25_000)
    })
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('reveal'), who }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('trip', 'disconnect', 'pause', 'resume'), who }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('kill', 'stop', 'blind', 'see', 'mute', 'speak', 'start'), who
    })
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('slow'), who, ms: fc.constantFrom(0, 90, 390, 990, 1500) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('redis'), who, is: fc.constantFrom('redis-1', 'redis-1', 'redis-2', '')
    })
  }
)

/**
 * What the protocol stands on: where one process reads cells, every other exposes to the very same cells or reveals
 * nothing. Tells what breaks it.
 */
const findBreach = (nodes: readonly Node[]): string | undefined => {
  const views = nodes.map(({ name, epoch }) => ({ name, ...epoch.view() }))
  const reading = views.filter(({ mode }) => mode === 'on')
  for (const reader of reading) {
    const other = views.find(({ mode, epoch }) => mode !== 'off' && epoch !== reader.epoch)
    if (other !== undefined) {
      return `${reader.name} reads ${reader.epoch}, and ${other.name} is ${other.mode} in ${other.epoch}`
    }
  }
  return undefined
}

const run = async (t: Test, steps: readonly Step[], directory: string, index: number): Promise<void> => {
  const world = await createWorld(t, `${directory}/${index}.db`)
  const nodes: Node[] = []
  const check = () => {
    const breach = findBreach(nodes)
    if (breach !== undefined) throw new Error(breach)
  }
  const start = async () => { if (nodes.length < 6) nodes.push(await world.start()) }
  await start()
  await start()
  await world.pass(500, check)
  const reveal = (node: Node) => {
    node.epoch.awaitOldLeases().then(isOver => {
      const reader = isOver ? nodes.find(other => other !== node && other.mode() === 'on') : undefined
      if (reader !== undefined) failure = new Error(`${node.name} reveals without exposing, while ${reader.name} reads`)
    }, () => {})
  }
  let failure: Error | undefined
  for (const step of steps) {
    if (step.kind === 'pass') await world.pass(step.ms, check)
    else if (step.kind === 'start') await start()
    else {
      const node = nodes[step.who % nodes.length]
      if (node === undefined || node.isDead()) continue
      if (step.kind === 'redis') node.redis(step.is === '' ? new Error('away') : step.is)
      else if (step.kind === 'slow') node.answerAfter(step.ms)
      else if (step.kind === 'reveal') reveal(node)
      else if (step.kind === 'trip') node.epoch.trip(node.epoch.view(), 'trip')
      else if (step.kind === 'disconnect') node.epoch.disconnect('connection lost')
      else if (step.kind === 'stop') void node.epoch.stop()
      else if (step.kind === 'blind') node.blind(true)
      else if (step.kind === 'see') node.blind(false)
      else if (step.kind === 'mute') node.mute(true)
      else if (step.kind === 'speak') node.mute(false)
      else node[step.kind]()
      await world.settle()
    }
    check()
    if (failure !== undefined) throw failure
  }
  // All that is left comes to an agreement.
  for (const node of nodes) {
    node.redis('redis-1')
    node.blind(false)
    node.answerAfter(0)
    node.mute(false)
    node.resume()
  }
  await world.pass(30_000, check)
  if (failure !== undefined) throw failure
  const entered = world.rows().nodes.map(({ node }) => node)
  const modes = nodes.filter(({ name, isDead }) => !isDead() && entered.includes(name)).map(node => node.mode())
  if (modes.some(mode => mode !== 'on')) throw new Error(`no agreement: ${modes.join()}`)
}

t.test('in any order of events, while one process reads cells, all others expose to the same cells or reveal nothing', async t => {
  const directory = t.testdir()
  let index = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), steps => run(t, steps, directory, index++)),
    { numRuns: Number(process.env.EPOCH_RUNS ?? 40) }
  )
  t.pass(`${index} runs`)
})
