import { deepEqual } from 'node:assert/strict'
import t, { type Test } from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { createRedisCache } from '../../src/cache/redis-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { entryAt } from '../cache/conformance.ts'
import { replyMsMax, startRedis } from '../helpers/redis.ts'
import { type Cell, type Command, type Reply, run } from './model/cell.ts'
import { explore, type System } from './model/explore.ts'
import { levelTwoSystem, type Setting } from './model/level-two.ts'
import type { Rules } from './model/level-two-state.ts'
import { type ActorKind, levelOne, levelOneOutdating, naiveSchemes, oneCellSystem } from './model/one-cell.ts'

/*
 * The protocol by which all processes share a cache, as a model of which every state is explored; the reasons are in
 * src/status/expose.ts and src/status/epoch/epoch.ts. MODEL_SETS=large explores larger sets too, for some minutes.
 */

const isLarge = process.env.MODEL_SETS === 'large'
const statesMax = isLarge ? 16_000_000 : 600_000

const holds = <State>(t: Test, name: string, system: System<State>) => {
  const startedAt = performance.now()
  const found = explore(system, statesMax)
  t.comment(`${name}: ${found.states} states, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  if (found.kind === 'holds') t.pass(name)
  else t.fail(`${name}: ${found.violation}`, { story: found.story })
}

const breaks = <State>(t: Test, name: string, system: System<State>, steps: number) => {
  const found = explore(system, statesMax)
  if (found.kind === 'holds') return t.fail(`${name} holds, in ${found.states} states`)
  t.comment(
    `${name}, after ${found.states} states:\n${[...found.story, found.violation].map(line => `  ${line}`).join('\n')}`
  )
  t.equal(found.story.length, steps, `${name}: a shortest story has ${steps} steps`)
}

const five: readonly ActorKind[] = ['writer', 'writer', 'reader', 'reader', 'reader']
const withBypassers: readonly ActorKind[] = ['writer', 'writer', 'bypasser', 'reader', 'reader']
const withRelay: readonly ActorKind[] = ['writer', 'foreign', 'relay', 'relay', 'reader', 'reader']

t.test('the obvious schemes all return older versions', async t => {
  const { cacheAside, writeThrough, doubleDelete, leases, setIfNewer } = naiveSchemes
  breaks(t, cacheAside.name, oneCellSystem(cacheAside, five, {}), 12)
  breaks(t, writeThrough.name, oneCellSystem(writeThrough, five, {}), 8)
  breaks(t, doubleDelete.name, oneCellSystem(doubleDelete, five, {}), 9)
  breaks(t, leases.name, oneCellSystem(leases, five, {}), 15)
  breaks(t, setIfNewer.name, oneCellSystem(setIfNewer, five, { empty: 1 }), 9)
  holds(t, `${setIfNewer.name}, with a cache that never forgets`, oneCellSystem(setIfNewer, five, {}))
})

t.test('level 1 holds while every command is answered', async t => {
  holds(t, 'evicted, restarted empty, a writer dies', oneCellSystem(levelOne, five, { empty: 2, crash: 1 }))
  holds(t, 'with a foreign writer and a relay that outdates', oneCellSystem(levelOne, withRelay, {
    empty: 1, crash: 1
  }))
  holds(t, 'some readers bypass the cell', oneCellSystem(levelOne, withBypassers, { empty: 2, crash: 1 }))
  holds(t, 'writers outdate where they have no entry', oneCellSystem(levelOneOutdating, five, { empty: 2, crash: 1 }))
})

t.test('level 1 fails when a reply is lost', async t => {
  breaks(t, levelOne.name, oneCellSystem(levelOne, five, { lose: 1 }), 5)
})

const three: Setting['actors'] = [['writer', 'A'], ['reader', 'A'], ['reader', 'B']]
const bypassing: Setting['actors'] = [['writer', 'A'], ['bypasser', 'A'], ['reader', 'B']]
const bypassed: Setting['actors'] = [['writer', 'A'], ['reader', 'A'], ['bypasser', 'B']]
const relayed: Setting['actors'] = [['foreign', 'A'], ['relay', 'A'], ['reader', 'B'], ['reader', 'B']]

t.test('level 2 holds', async t => {
  const small: Array<[string, Setting]> = [
    ['a reply is lost, and a cell evicted', { actors: three, faults: { lose: 1, evict: 1 } }],
    ['a reply is lost, and the cache restarts empty', { actors: three, faults: { lose: 1, restart: 1 } }],
    ['a reply is lost, and a writer dies', { actors: three, faults: { lose: 1, crash: 1 } }],
    ['a reply is lost, and a lease ends early', { actors: three, faults: { lose: 1, expire: 1 } }],
    ['a reply is lost, with a foreign writer and a relay that outdates', { actors: relayed, faults: { lose: 1 } }],
    ['one node is cut off from the cache', { actors: three, faults: { cutOff: 1 } }],
    ['the cache comes back with old contents', { actors: three, faults: { rollBack: 1 } }],
    ['begun off, a lease ends early', { actors: three, faults: { expire: 1 }, mode: 'off' }],
    ['a reply is lost, and a lease ends early, beside one that bypasses the cell', {
      actors: bypassing, faults: { lose: 1, expire: 1 }
    }],
    ['a reply is lost, and a writer dies, beside one that bypasses the cell', {
      actors: bypassed, faults: { lose: 1, crash: 1 }
    }],
    ['begun off, a lease ends early, beside one that bypasses the cell', {
      actors: bypassed, faults: { expire: 1 }, mode: 'off'
    }],
    ['a reply is lost, and a lease ends early, while answers about the row are slow', {
      actors: [['writer', 'A'], ['reader', 'B']], faults: { lose: 1, expire: 1 }, hasSlowAnswers: true
    }]
  ]
  const large: Array<[string, Setting]> = [
    ['all at once', { actors: three, faults: { lose: 1, evict: 1, restart: 1, crash: 1 } }],
    ['two replies are lost', { actors: three, faults: { lose: 2 } }],
    ['two writers', {
      actors: [
        ['writer', 'A'], ['writer', 'B'], ['reader', 'A'], ['reader', 'B']
      ],
      faults: { lose: 1 }
    }],
    ['a foreign writer, and two that bypass the cell', {
      actors: [['foreign', 'A'], ['bypasser', 'A'], ['reader', 'A'], ['bypasser', 'B'], ['reader', 'B']],
      faults: { lose: 1 }
    }],
    ['three readers', { actors: [...three, ['reader', 'B']], faults: { lose: 1 } }],
    ['a relay, and an eviction', { actors: relayed, faults: { lose: 1, evict: 1 } }],
    ['old contents, and a lost reply', { actors: three, faults: { rollBack: 1, lose: 1 } }],
    ['a reply is lost, while answers about the row are slow', {
      actors: three, faults: { lose: 1, expire: 1 }, hasSlowAnswers: true
    }]
  ]
  for (const [name, setting] of [...small, ...isLarge ? large : []]) holds(t, name, levelTwoSystem(setting))
})

type Break = [rule: keyof Rules, steps: number, setting: Setting]

const breakEach = (t: Test, without: readonly Break[]) => {
  for (const [rule, steps, setting] of without) {
    breaks(t, `without ${rule}`, levelTwoSystem({ ...setting, rules: { [rule]: false } }), steps)
  }
}

t.test('level 2 needs each of its rules', async t => {
  breakEach(t, [
    ['awaitsOldLeases', 10, { actors: three, faults: { lose: 1 } }],
    ['beginsNewEpoch', 10, { actors: three, faults: { lose: 1 } }],
    ['warmsUp', 15, { actors: [['writer', 'A'], ['reader', 'B'], ['reader', 'B']], faults: {}, mode: 'off' }],
    ['leasesFromRequest', 13, {
      actors: [['writer', 'A'], ['reader', 'B']], faults: { lose: 1, expire: 1 }, hasSlowAnswers: true
    }],
    ['bypassersOutdate', 9, {
      actors: [['foreign', 'A'], ['bypasser', 'A'], ['reader', 'B'], ['reader', 'B']], faults: { evict: 1 }
    }],
    ['checksServer', 11, { actors: three, faults: { rollBack: 1 } }],
    ['dropsCommandsWithConnection', 11, { actors: three, faults: { rollBack: 1 } }]
  ])
})

const awaited: Setting['actors'] = [['writer', 'A'], ['stream', 'A'], ['reader', 'B']]
const awaitedByRelay: Setting['actors'] = [['foreign', 'A'], ['stream', 'A'], ['relay', 'A']]
const twoNodes: Setting['actors'] = [['writer', 'A'], ['writer', 'B'], ['stream', 'A'], ['relay', 'A']]

t.test('who waits is given every change in time, and never anything old', async t => {
  const small: Array<[string, Setting]> = [
    ['entries come late from one of two nodes, and a cell is evicted', { actors: twoNodes, faults: { evict: 1 } }],
    ['a writer dies before its exposure', {
      actors: [['writer', 'A'], ['writer', 'B'], ['waiter', 'A'], ['relay', 'A']], faults: { crash: 1 }
    }],
    ['a foreign writer and one of ours', {
      actors: [['writer', 'A'], ['foreign', 'A'], ['stream', 'A'], ['relay', 'A']], faults: { evict: 1 }
    }],
    ['a reply is lost, and others read', { actors: awaited, faults: { lose: 1 } }],
    ['a reply is lost, to the relay too', {
      actors: [['writer', 'B'], ['waiter', 'A'], ['relay', 'A']], faults: { lose: 1 }
    }],
    ['the node is cut off from the cache', {
      actors: [['writer', 'B'], ['stream', 'A'], ['relay', 'A']], faults: { cutOff: 1 }
    }],
    ['begun off, a lease ends early', { actors: awaited, faults: { expire: 1 }, mode: 'off' }]
  ]
  const large: Array<[string, Setting]> = [
    ['two nodes, and others read', { actors: [...twoNodes, ['reader', 'A']], faults: {} }],
    ['a reply is lost while a relay works and others read', {
      actors: [...awaitedByRelay, ['reader', 'B']], faults: { lose: 1 }
    }],
    ['a reply is lost, and a cell evicted', { actors: awaited, faults: { lose: 1, evict: 1 } }],
    ['the cache comes back with old contents', { actors: awaited, faults: { rollBack: 1 } }],
    ['two wait', { actors: [...twoNodes, ['waiter', 'B'], ['relay', 'B']], faults: {} }]
  ]
  for (const [name, setting] of [...small, ...isLarge ? large : []]) holds(t, name, levelTwoSystem(setting))
})

t.test('waiting needs each of its rules', async t => {
  breakEach(t, [
    ['subscribesFirst', 9, { actors: awaitedByRelay, faults: {} }],
    ['remembersWakes', 9, { actors: awaitedByRelay, faults: {} }],
    ['outdatesBeforeWaking', 9, { actors: awaitedByRelay, faults: {} }],
    ['exposesBeforeWaking', 10, { actors: awaited, faults: {} }],
    ['failsSilently', 11, { actors: awaited, faults: { lose: 1 } }],
    ['readsBeforeEntries', 9, { actors: twoNodes, faults: {} }],
    ['takesOnlyNewer', 12, {
      actors: [['writer', 'A'], ['writer', 'B'], ['foreign', 'A'], ['waiter', 'A']], faults: {}
    }]
  ])
})

t.test('an answer can be older than what another process reveals while it is made', async t => {
  breakEach(t, [['judgesFromStart', 12, { actors: [['writer', 'A'], ['writer', 'B'], ['waiter', 'A']], faults: {} }]])
})

/** The model's cell is worth something only if a cell of the real caches does the same. */
const sameAsModel = async (t: Test, cache: StatusCache) => {
  const cells: Cell[] = [
    { kind: 'empty' }, { kind: 'token', token: 1 }, { kind: 'token', token: 2 }, { kind: 'entry', version: 1 },
    { kind: 'entry', version: 2 }, { kind: 'entry', version: 3 }
  ]
  const commands: Command[] = [
    { do: 'get' }, { do: 'lease', token: 1 }, { do: 'lease', token: 2 }, { do: 'outdate', version: 2 },
    ...[0, 1, 2].map(token => ({ do: 'expose', version: 2, token }) as const)
  ]

  const put = async (epoch: string, cell: Cell) => {
    if (cell.kind === 'empty') return
    const token = cell.kind === 'token' ? String(cell.token) : 'fill'
    await cache.lease(epoch, 'job-1', token)
    if (cell.kind === 'entry') await cache.expose(epoch, entryAt(cell.version), token)
  }

  const carryOut = async (epoch: string, command: Command): Promise<Reply> => {
    switch (command.do) {
      case 'get': {
        const found = await cache.get(epoch, 'job-1')
        return found.kind === 'hit' ? { kind: 'hit', version: found.entry.version } : found
      }
      case 'lease': {
        const leased = await cache.lease(epoch, 'job-1', String(command.token))
        return leased.kind === 'hit'
          ? {
              kind: 'hit', version: leased.entry.version
            }
          : { kind: 'token', token: Number(leased.token) }
      }
      case 'outdate':
        await cache.invalidate(epoch, 'job-1', command.version)
        return { kind: 'done' }
      case 'expose':
        await cache.expose(epoch, entryAt(command.version), command.token === 0 ? null : String(command.token))
        return { kind: 'done' }
      default: throw new Error(`no cache does ${command.do}`)
    }
  }

  /** Changes an empty cell, so it comes last. */
  const contents = async (epoch: string): Promise<Cell> => {
    const leased = await cache.lease(epoch, 'job-1', '9')
    if (leased.kind === 'hit') return { kind: 'entry', version: leased.entry.version }
    return leased.token === '9' ? { kind: 'empty' } : { kind: 'token', token: Number(leased.token) }
  }

  let cases = 0
  for (const cell of cells) {
    for (const command of commands) {
      const epoch = `case-${cases++}`
      await put(epoch, cell)
      const reply = await carryOut(epoch, command)
      deepEqual(
        { reply, cell: await contents(epoch) }, run(cell, command), `${JSON.stringify(cell)} ${JSON.stringify(command)}`
      )
    }
  }
  t.equal(cases, 42)
}

t.test('the cell of the model does what a cell in memory does', async t => {
  await sameAsModel(t, createMemoryCache({ now: () => 1, random: () => 0 }))
})

t.test('the cell of the model does what a cell in Redis does', async t => {
  const redis = await startRedis(t)
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(redis.url), incarnation: 'model', random: () => 0, onError: () => {}, replyMsMax
  })
  t.teardown(cache.close)
  await cache.identify()
  await sameAsModel(t, cache)
})
