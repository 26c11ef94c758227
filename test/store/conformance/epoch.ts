import type { EpochRow, NodeRow } from '../../../src/store/store.ts'
import type { Conformance } from './store-under-test.ts'

const node = (name: string, more: Partial<NodeRow> = {}): NodeRow =>
  ({ node: name, epoch: 'e1', mode: 'off', runId: null, beat: 1, isGone: 0, ...more })

/** The rows by which processes agree about their cache. */
export const epochConformance: Conformance = (t, open) => {
  t.test('a process enters in a new epoch that is off', async t => {
    const { store: { epoch }, openAnother } = await open(t)
    await epoch.join('a', 'e1', [])
    const rows = await epoch.read()
    t.match(rows, { epoch: { name: 'e1', mode: 'off', runId: null, holdMs: 0, flaps: 0 }, nodes: [node('a')] })
    t.ok(Math.abs(Date.now() - rows.epoch.changedAt) < 60_000)
    await (await openAnother()).epoch.join('b', 'e2', [])
    t.match(await epoch.read(), { epoch: { name: 'e2', mode: 'off' }, nodes: [node('a'), node('b', { epoch: 'e2' })] })
    await epoch.join('a', 'e3', ['b'])
    t.same((await epoch.read()).nodes, [node('a', {
      epoch: 'e3', beat: 2
    })], 'a stale node is removed, a known one enters again')
    await epoch.leave('a')
    t.same((await epoch.read()).nodes, [])
  })

  t.test('a start does not shorten the hold that others wait for', async t => {
    const { store: { epoch } } = await open(t)
    await epoch.join('a', 'e1', [])
    await epoch.advance({ name: 'e1', mode: 'off' }, 'warm', 'r')
    await epoch.trip('a', 'e1', 'e2', 'Redis is gone')
    const { holdMs } = (await epoch.read()).epoch
    t.ok(holdMs > 0)
    await epoch.join('b', 'e3', [])
    t.match((await epoch.read()).epoch, { name: 'e3', mode: 'off', holdMs, flaps: 1 })
    await epoch.join('b', 'e4', ['a'])
    t.equal((await epoch.read()).epoch.holdMs, 0, 'no other process waits')
  })

  t.test('an epoch advances only from the state that was seen', async t => {
    const { store: { epoch } } = await open(t)
    await epoch.join('a', 'e1', [])
    const modeAfter = async (seen: Pick<EpochRow, 'name' | 'mode'>, mode: 'warm' | 'on') => {
      await epoch.advance(seen, mode, 'r1')
      const { epoch: row } = await epoch.read()
      return [row.mode, row.runId, row.reason]
    }
    t.same(await modeAfter({ name: 'e0', mode: 'off' }, 'warm'), ['off', null, 'a process has started'])
    t.same(await modeAfter({ name: 'e1', mode: 'warm' }, 'on'), ['off', null, 'a process has started'])
    t.same(await modeAfter({ name: 'e1', mode: 'off' }, 'warm'), ['warm', 'r1', null])
    t.same(await modeAfter({ name: 'e1', mode: 'off' }, 'warm'), ['warm', 'r1', null])
    t.same(await modeAfter({ name: 'e1', mode: 'warm' }, 'on'), ['on', 'r1', null])
  })

  t.test('the first of several processes ends an epoch, and the others change nothing', async t => {
    const { store: { epoch } } = await open(t)
    await epoch.join('a', 'e1', [])
    await epoch.join('b', 'e2', [])
    await epoch.advance({ name: 'e2', mode: 'off' }, 'warm', 'r')
    await Promise.all([epoch.trip('a', 'e2', 'e3', 'by a'), epoch.trip('b', 'e2', 'e4', 'by b')])
    const { epoch: row, nodes } = await epoch.read()
    const [name, by] = row.reason === 'by a' ? ['e3', 'a'] : ['e4', 'b']
    t.match(row, { name, mode: 'off', runId: null, flaps: 1 })
    t.match(
      nodes.find(({ node }) => node === by), { epoch: name, mode: 'off' }, 'who ends an epoch acknowledges the new one'
    )
    t.ok(nodes.every(({ node, epoch }) => node === by || epoch !== name))
    await epoch.trip('a', name, 'e5', 'again')
    t.equal((await epoch.read()).epoch.name, name, 'an epoch that is off cannot end')
  })

  t.test('a cache that fails again and again waits longer each time, up to a bound', async t => {
    const { store: { epoch } } = await open(t)
    await epoch.join('a', 'e0', [])
    const holds: number[] = []
    for (let round = 0; round < 8; round++) {
      await epoch.advance({ name: `e${round}`, mode: 'off' }, 'warm', 'r')
      await epoch.trip('a', `e${round}`, `e${round + 1}`, 'gone')
      holds.push((await epoch.read()).epoch.holdMs)
    }
    t.same(holds, [100, 200, 400, 800, 1600, 2000, 2000, 2000])
  })

  t.test('a node is evicted and removed only over the beat that was seen', async t => {
    const { store: { epoch } } = await open(t)
    await epoch.join('a', 'e1', [])
    await epoch.acknowledge('a', { epoch: 'e1', mode: 'warm', runId: 'r' })
    t.same((await epoch.read()).nodes, [node('a', { mode: 'warm', runId: 'r', beat: 2 })])
    await epoch.evict([node('a', { beat: 1 })])
    t.match((await epoch.read()).nodes, [{ isGone: 0 }])
    await epoch.remove([node('a', { beat: 2 })])
    t.equal((await epoch.read()).nodes.length, 1, 'it is not gone')
    await epoch.evict([node('a', { beat: 2 })])
    t.match((await epoch.read()).nodes, [{ isGone: 1 }])
    await epoch.remove([node('a', { beat: 1 })])
    t.equal((await epoch.read()).nodes.length, 1)
    await epoch.remove([node('a', { beat: 2 })])
    t.same((await epoch.read()).nodes, [])
  })
}
