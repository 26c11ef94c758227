import t, { type Test } from 'tap'
import { createRefresh, type RefreshNeeds } from '../../../src/status/epoch/refresh.ts'
import type { HeldRefresh, Node, NodeOptions, World } from './epoch-world.ts'
import { passUntil, reveals, together } from './processes.ts'

/*
 * Refreshes that overlap or are answered late, each story with the rule that makes it safe; where refresh.ts
 * keeps it, once more without it.
 */

/** A lease runs from the answer, in place of the beginning. */
const leaseFromAnswer = (needs: RefreshNeeds) => createRefresh({
  ...needs, onRows: (rows, { answeredAt }) => { needs.onRows(rows, { beganAt: answeredAt, answeredAt }) }
})

/** The age of a mode counts from the beginning, in place of the answer. */
const ageFromBeginning = (needs: RefreshNeeds) => createRefresh({
  ...needs, onRows: (rows, { beganAt }) => { needs.onRows(rows, { beganAt, answeredAt: beganAt }) }
})

/** Every answer is taken over, in whatever order they arrive. */
const anyOrder = (needs: RefreshNeeds) => createRefresh({
  ...needs,
  read: async () => {
    const beganAt = needs.monotonicNow()
    const rows = await needs.read()
    needs.onRows(rows, { beganAt, answeredAt: needs.monotonicNow() })
    return rows
  }
})

/** The refresh of a process that was held as the n-th; waits until it begins. */
const heldRefresh = async (world: Pick<World, 'pass'>, node: Node, index: number): Promise<HeldRefresh> => {
  await passUntil(world, () => node.held.length > index)
  return node.held[index] as HeldRefresh
}

/** B reads `on` and is answered after A has ended the epoch, waited for B's lease and revealed. Returns B's mode then. */
const answeredAfterItsLease = async (t: Test, options: NodeOptions = {}): Promise<string> => {
  const world = await together(t, 2, options)
  const { a, b, settle } = world
  b.holdRefreshes(true)
  const late = await heldRefresh(world, b, 0)
  late.read()
  await settle()
  a.epoch.trip(a.epoch.view(), 'a reply was lost')
  await reveals(world, a)
  t.equal(b.mode(), 'off', 'its lease is over')
  late.answer()
  await settle()
  return b.mode()
}

t.test('a late answer gives no lease that outlives the wait of another process', async t => {
  t.equal(await answeredAfterItsLease(t), 'off')
  t.equal(await answeredAfterItsLease(t, { createRefresh: leaseFromAnswer }), 'on', 'a lease from the answer would')
})

/** B reads `on`, then `off`, and acknowledges that; A reveals; B's first answer arrives. Returns B's mode then. */
const answeredInReverse = async (t: Test, options: NodeOptions = {}): Promise<string> => {
  const world = await together(t, 2, options)
  const { a, b, settle } = world
  b.holdRefreshes(true)
  const older = await heldRefresh(world, b, 0)
  older.read()
  const younger = await heldRefresh(world, b, 1)
  a.epoch.trip(a.epoch.view(), 'a reply was lost')
  await settle()
  younger.answer()
  await settle()
  t.equal(b.mode(), 'off')
  t.ok(await reveals(world, a) < 300, 'it has acknowledged that')
  older.answer()
  await settle()
  return b.mode()
}

t.test('an answer to a refresh is dropped after a younger one was answered', async t => {
  t.equal(await answeredInReverse(t), 'off')
  t.equal(await answeredInReverse(t, {
    createRefresh: anyOrder
  }), 'on', 'taken over, it would bring back the old epoch')
})

/** A reads `on`, C ends the epoch, A's answer shows that; B, paused, has a lease when A reveals. Returns B's mode then. */
const answeredLongAfterItBegan = async (t: Test, options: NodeOptions = {}): Promise<string> => {
  const world = await together(t, 3, options)
  const { a, b, c, pass, settle } = world
  a.holdRefreshes(true)
  const early = await heldRefresh(world, a, 0)
  await pass(300)
  b.pause()
  c.epoch.trip(c.epoch.view(), 'a reply was lost')
  await settle()
  a.holdRefreshes(false)
  early.answer()
  await settle()
  t.equal(a.mode(), 'off')
  t.equal(b.mode(), 'on', 'it has not seen that')
  await reveals(world, a)
  return b.mode()
}

t.test('the age of a mode runs from the answer, so that a refresh that began before it shortens no wait', async t => {
  t.equal(await answeredLongAfterItBegan(t), 'off', 'its lease is over')
  t.equal(await answeredLongAfterItBegan(t, { createRefresh: ageFromBeginning }), 'on', 'from the beginning, it is not')
})

t.test('a refresh that hangs keeps a process neither from the next one nor from ending', async t => {
  const world = await together(t)
  const { b, pass } = world
  b.holdRefreshes(true)
  await heldRefresh(world, b, 0)
  await pass(1000)
  t.equal(b.held.length, 3, 'one every 400 ms')
  t.equal(b.mode(), 'off')
  b.holdRefreshes(false)
  await pass(400)
  t.equal(b.mode(), 'on')
  b.holdRefreshes(true)
  await heldRefresh(world, b, 3)
  await b.epoch.stop()
  t.equal(world.rows().nodes.length, 1)
})

t.test('requests that find no valid lease share one refresh', async t => {
  const world = await together(t)
  const { b, pass, settle } = world
  b.pause()
  await pass(2000)
  b.holdRefreshes(true)
  const waiting = Promise.all([1, 2, 3].map(() => b.epoch.awaitOldLeases()))
  await settle()
  const shared = await heldRefresh(world, b, 0)
  t.equal(b.held.length, 1)
  shared.answer()
  t.same(await waiting, [false, false, false], 'the cache is in use')
})
