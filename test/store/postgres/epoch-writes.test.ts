import t from 'tap'
import { startPostgres } from '../../helpers/postgres.ts'
import { openOn, openStore } from './open.ts'

const server = await startPostgres(t)

t.test('of processes that write the epoch at once, one takes effect over what all have seen', async t => {
  const { url, store: { epoch } } = await openStore(t, server)
  const processes = await Promise.all(['a', 'b', 'c', 'd'].map(async node => ({ node, epoch: (await openOn(t, url)).store.epoch })))
  await Promise.all(processes.map(({ node, epoch }) => epoch.join(node, `start-${node}`, [])))
  t.same((await epoch.read()).nodes.map(({ node }) => node), ['a', 'b', 'c', 'd'])
  for (let round = 1; round <= 10; round++) {
    const { epoch: { name, flaps } } = await epoch.read()
    await Promise.all(processes.map(({ node, epoch }) => epoch.advance({ name, mode: 'off' }, 'warm', `redis-${node}`)))
    t.match(await epoch.read(), { epoch: { name, mode: 'warm', runId: /^redis-/, flaps } })
    await Promise.all(processes.flatMap(({ node, epoch }) => [
      epoch.trip(node, name, `${round}-${node}`, `by ${node}`), epoch.advance({ name, mode: 'warm' }, 'on', 'late')
    ]))
    const { epoch: row, nodes } = await epoch.read()
    const [, by] = row.name.split('-')
    t.match(row, { name: `${round}-${String(by)}`, mode: 'off', runId: null, reason: `by ${String(by)}` })
    t.equal(row.flaps, Math.min(10, flaps + 1), 'it counts once')
    t.same(nodes.filter(({ epoch }) => epoch === row.name).map(({ node }) => node), [by], 'by the one that acknowledges it')
  }
})
