import t from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import type { Epoch, View } from '../../src/status/epoch.ts'
import { createGate, openParts } from '../helpers/parts.ts'

const newCache = () => createMemoryCache({ now: () => 1, random: () => 0 })
const insert = "INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')"

/** A cache of which single operations can be made to fail, and an epoch that the test turns by hand. */
const createFaulty = () => {
  const cache = newCache()
  const broken = new Set<'get' | 'lease' | 'expose'>()
  const calls: string[] = []
  const through = <Args extends unknown[], Value>(name: 'get' | 'lease' | 'expose', operation: (...args: Args) => Promise<Value>) =>
    async (...args: Args): Promise<Value> => {
      calls.push(name)
      if (broken.has(name)) throw new Error(`${name} failed`)
      return await operation(...args)
    }
  let view: View = { epoch: 'e0', mode: 'on' }
  let epochs = 0
  const trips: string[] = []
  const epoch: Epoch = {
    view: () => view,
    trip: (seen, reason) => {
      if (seen.epoch !== view.epoch || view.mode === 'off') return
      trips.push(reason)
      view = { epoch: `e${++epochs}`, mode: 'off' }
    }
  }
  const faulty: StatusCache = { ...cache, get: through('get', cache.get), lease: through('lease', cache.lease), expose: through('expose', cache.expose) }
  return { cache: faulty, epoch, broken, calls, trips, turnOn: () => { view = { ...view, mode: 'on' } } }
}

t.test('the store is asked once, then the cache answers', async t => {
  const { readStatus, reads, sql } = await openParts(t, { cache: newCache() })
  sql(insert)
  const first = await readStatus('job-1', 0)
  t.match(first, { state: 'running', version: 1 })
  t.same(await readStatus('job-1', 0), first)
  t.same(reads, ['store', 'cache'])
})

t.test('a hit costs one command, a miss three', async t => {
  const { cache, epoch, calls } = createFaulty()
  const { readStatus, sql } = await openParts(t, { cache, epoch })
  sql(insert)
  await readStatus('job-1', 0)
  t.same(calls, ['get', 'lease', 'expose'])
  await readStatus('job-1', 0)
  t.same(calls.slice(3), ['get'])
})

t.test('absence is known too, and floors do not apply to it', async t => {
  const { readStatus, reads } = await openParts(t, { cache: newCache() })
  t.match(await readStatus('nobody', 0), { state: 'absent', version: 0 })
  t.match(await readStatus('nobody', 99), { state: 'absent' })
  t.same(reads, ['store', 'cache'])
})

t.test('a floor newer than the entry sends the read to the store, and moves the entry on', async t => {
  const { readStatus, reads, sql, advance } = await openParts(t, { cache: newCache() })
  sql(insert)
  await readStatus('job-1', 0)
  const version = advance(50)
  t.match(await readStatus('job-1', version - 1), { version: 1 }, 'the floor is met: the entry stands until the relay comes')
  t.match(await readStatus('job-1', version), { version, percent: 50 })
  t.match(await readStatus('job-1', 0), { version }, 'for everyone')
  t.same(reads, ['store', 'cache', 'store', 'cache'])
})

t.test('a forged floor costs one read of the store, once', async t => {
  const { readStatus, reads, sql, advance } = await openParts(t, { cache: newCache() })
  sql(insert)
  await readStatus('job-1', 0)
  for (let i = 0; i < 5; i++) t.match(await readStatus('job-1', 1_000_000), { version: 1 })
  t.equal(reads.filter(source => source === 'store').length, 2)
  const version = advance(10)
  t.match(await readStatus('job-1', version), { version }, 'and does not keep a true one from being honoured')
})

t.test('a thousand readers of a cold job make two reads of the store at most', async t => {
  const gate = createGate()
  const { readStatus, reads, sql } = await openParts(t, {
    cache: newCache(),
    aroundFind: find => async jobId => {
      await gate.pass()
      return await find(jobId)
    }
  })
  sql(insert)
  gate.shut()
  const answers = Array.from({ length: 1000 }, () => readStatus('job-1', 0))
  await gate.reached()
  gate.open()
  for (const entry of await Promise.all(answers)) t.equal(entry.version, 1)
  t.ok(reads.filter(source => source === 'store').length <= 2)
})

t.test('who comes while a read of the store runs does not get what it found', async t => {
  const gate = createGate()
  let finds = 0
  const { readStatus, expose, store, sql, advance } = await openParts(t, {
    cache: newCache(),
    aroundFind: find => async jobId => {
      const found = await find(jobId)
      finds++
      await gate.pass()
      return found
    }
  })
  sql(insert)
  gate.shut()
  const early = readStatus('job-1', 0)
  await gate.reached()
  const version = advance(70)
  await expose(await store.find('job-1'))
  const late = readStatus('job-1', 0)
  gate.open()
  t.match(await early, { version: 1 }, 'began before the change was shown')
  t.match(await late, { version }, 'began after')
  t.equal(finds, 2)
})

t.test('whatever operation of the cache fails, the answer is the truth, and the epoch ends', async t => {
  for (const operation of ['get', 'lease', 'expose'] as const) {
    const { cache, epoch, broken, calls, trips, turnOn } = createFaulty()
    const { readStatus, sql, advance } = await openParts(t, { cache, epoch })
    sql(insert)
    broken.add(operation)
    t.match(await readStatus('job-1', 0), { version: 1 })
    t.same(trips, [`${operation} failed`])
    const before = calls.length
    const version = advance(20)
    t.match(await readStatus('job-1', 0), { version }, 'no cache, no staleness')
    t.equal(calls.length, before, 'a cache that failed is not asked again by requests')
    broken.clear()
    turnOn()
    await readStatus('job-1', 0)
    t.match(await readStatus('job-1', 0), { version })
  }
})

t.test('an exposure that outlives its epoch is done again in the next one', async t => {
  const { cache, epoch, turnOn } = createFaulty()
  const gate = createGate()
  const gated: StatusCache = {
    ...cache,
    expose: async (...args) => {
      await cache.expose(...args)
      await gate.pass()
    }
  }
  const { expose, readStatus, store, sql, advance } = await openParts(t, { cache: gated, epoch })
  sql(insert)
  await readStatus('job-1', 0)
  const version = advance(30)
  gate.shut()
  const exposing = expose(await store.find('job-1'))
  await gate.reached()
  epoch.trip(epoch.view(), 'lost')
  turnOn()
  const stale = await cache.lease(epoch.view().epoch, 'job-1', 'old-reader')
  t.equal(stale.kind, 'token')
  gate.open()
  await exposing
  t.same(await cache.lease(epoch.view().epoch, 'job-1', 'new-reader'), { kind: 'token', token: 'new-reader' },
    `a fill begun before version ${version} was shown is dead in the new epoch too`)
})

t.test('a store that cannot be read rejects, and fills nothing', async t => {
  let isDown = true
  const { readStatus, sql } = await openParts(t, {
    cache: newCache(),
    aroundFind: find => async jobId => {
      if (isDown) throw new Error('down')
      return await find(jobId)
    }
  })
  sql(insert)
  await t.rejects(readStatus('job-1', 0), /down/)
  isDown = false
  t.match(await readStatus('job-1', 0), { version: 1 })
})
