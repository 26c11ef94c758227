import t from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import { createViews } from '../../src/views/views.ts'
import type { Epoch, View } from '../../src/status/epoch/epoch.ts'
import { createExposeMany } from '../../src/status/expose.ts'
import { createGate, openParts } from '../helpers/parts.ts'

const newCache = () => createMemoryCache({ now: () => 1, random: () => 0 })
const insert = "INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')"

type Operation = 'get' | 'getMany' | 'lease' | 'expose' | 'exposeMany'

/** A cache of which single operations can be made to fail, and an epoch that the test turns by hand. */
const createFaulty = () => {
  const cache = newCache()
  const broken = new Set<Operation>()
  const calls: string[] = []
  const through = <Args extends unknown[], Value>(
    name: Operation, operation: (...args: Args) => Value | Promise<Value>
  ) =>
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
    },
    awaitOldLeases: () => Promise.resolve(view.mode === 'off')
  }
  const faulty: StatusCache = {
    ...cache,
    get: through('get', cache.get),
    getMany: through('getMany', cache.getMany),
    lease: through('lease', cache.lease),
    expose: through('expose', cache.expose),
    exposeMany: through('exposeMany', cache.exposeMany)
  }
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

t.test('an entry that another reader has filled between the miss and the lease comes from the cache', async t => {
  const { cache, epoch } = createFaulty()
  const { readStatus, reads, sql } = await openParts(t, { cache: { ...cache, get: () => ({ kind: 'miss' }) }, epoch })
  sql(insert)
  await readStatus('job-1', 0)
  t.match(await readStatus('job-1', 0), { version: 1 })
  t.same(reads, ['store', 'cache'])
})

t.test('absence is cached too, and floors do not apply to it', async t => {
  const { readStatus, reads } = await openParts(t, { cache: newCache() })
  t.match(await readStatus('no-such-job', 0), { state: 'absent', version: 0 })
  t.match(await readStatus('no-such-job', 99), { state: 'absent' })
  t.same(reads, ['store', 'cache'])
})

t.test('a floor newer than the entry makes the read go to the store and updates the entry', async t => {
  const { readStatus, reads, sql, advance } = await openParts(t, { cache: newCache() })
  sql(insert)
  await readStatus('job-1', 0)
  const version = advance(50)
  t.match(
    await readStatus('job-1', version - 1), { version: 1 }, 'the floor is met: the entry stands until the relay comes'
  )
  t.match(await readStatus('job-1', version), { version, percent: 50 })
  t.match(await readStatus('job-1', 0), { version }, 'for everyone')
  t.same(reads, ['store', 'cache', 'store', 'cache'])
})

t.test('a forged floor costs one read of the store, once', async t => {
  const { readStatus, reads, sql, advance } = await openParts(t, { cache: newCache() })
  sql(insert)
  await readStatus('job-1', 0)
  for (let i = 0; i < 5; i++) t.match(await readStatus('job-1', 1_000_000), { version: 1 })
  t.same(reads, ['store', 'store', 'cache', 'cache', 'cache', 'cache'])
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
  const answers = Array.from({ length: 1000 }, async () => await readStatus('job-1', 0))
  await gate.reached()
  gate.open()
  for (const entry of await Promise.all(answers)) t.equal(entry.version, 1)
  t.ok(reads.filter(source => source === 'store').length <= 2)
})

t.test('a read that starts while a read of the store is under way does not get its result', async t => {
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
  await expose(await store.jobs.find('job-1'))
  const late = readStatus('job-1', 0)
  gate.open()
  t.match(await early, { version: 1 }, 'began before the change was shown')
  t.match(await late, { version }, 'began after')
  t.equal(finds, 2)
})

t.test('whatever operation of the cache fails, the response is current and the epoch ends', async t => {
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

t.test('an exposure that outlives its epoch is repeated in the next one', async t => {
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
  const exposing = expose(await store.jobs.find('job-1'))
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
  await t.rejects(async () => await readStatus('job-1', 0), /down/)
  isDown = false
  t.match(await readStatus('job-1', 0), { version: 1 })
})

const insertMany =
  "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Running'), ('c', 'Failed')"

t.test('many jobs are read in the order of the ids: cached ones in one command, the others from the store', async t => {
  const { cache, epoch, calls } = createFaulty()
  const { readStatus, readMany, reads, sql } = await openParts(t, { cache, epoch })
  sql(insertMany)
  t.same(await readMany([]), [])
  await readStatus('b', 0)
  await readStatus('no-such-job', 0)
  reads.length = calls.length = 0
  const entries = await readMany(['c', 'b', 'no-such-job', 'a', 'b'])
  t.same(entries.map(({ jobId, state }) => [jobId, state]), [
    ['c', 'failed'], ['b', 'running'], ['no-such-job', 'absent'], ['a', 'queued'], ['b', 'running']
  ])
  t.same(reads.toSorted(), ['cache', 'cache', 'cache', 'store', 'store'])
  t.equal(calls.filter(name => name === 'getMany').length, 1)
  t.equal(calls.filter(name => name === 'get').length, 0)
  reads.length = calls.length = 0
  t.same(await readMany(['a', 'b', 'c']), [entries[3], entries[1], entries[0]])
  t.same(calls, ['getMany'], 'and then all at once')
})

t.test('reads of many jobs return nothing older than an earlier response', async t => {
  const { readMany, expose, store, sql, advance } = await openParts(t, { cache: newCache() })
  sql(insert)
  await readMany(['job-1'])
  const version = advance(50)
  await expose(await store.jobs.find('job-1'))
  t.match(await readMany(['job-1']), [{ version }])
})

t.test('whatever fails while many jobs are read, the responses are current', async t => {
  for (const operation of ['getMany', 'lease', 'expose'] as const) {
    const { cache, epoch, broken, trips } = createFaulty()
    const { readMany, sql } = await openParts(t, { cache, epoch })
    sql(insertMany)
    await readMany(['a'])
    sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'a'")
    broken.add(operation)
    const entries = await readMany(['a', 'b'])
    t.equal(entries[1]?.state, 'running')
    t.same(trips, [`${operation} failed`])
    t.match(await readMany(['a', 'b']), [{ state: 'running' }, { state: 'running' }], 'no cache, no staleness')
  }
})

t.test('after many jobs were exposed no read returns an older version of any of them', async t => {
  const { cache, epoch, broken, calls, trips, turnOn } = createFaulty()
  const { readMany, store, sql } = await openParts(t, { cache, epoch })
  const views = createViews({ publicUrl: null, onInvalid: () => {} })
  const exposeMany = createExposeMany({ cache, epoch, views, onExposed: () => {} })
  sql(insertMany)
  const before = await readMany(['a', 'b', 'c'])
  sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'a'; DELETE FROM JobExecutionLog WHERE jobId = 'c'")
  const late = await cache.lease(epoch.view().epoch, 'no-such-job', 'reader')
  const lookups = await Promise.all(['c', 'a', 'no-such-job', 'b'].map(store.jobs.find))
  calls.length = 0
  const shown = await exposeMany(lookups)
  t.same(calls, ['exposeMany'], 'in one command')
  t.same(shown, lookups.map(views.toEntry), 'in the order of the page')
  t.same(await readMany(['a', 'b', 'c']), [shown[1], before[1], shown[0]])
  t.equal(late.kind, 'token')
  t.same(await cache.lease(epoch.view().epoch, 'no-such-job', 'next'), {
    kind: 'token', token: 'next'
  }, 'fills under way have no effect')
  t.same(await exposeMany([]), [])

  broken.add('exposeMany')
  sql("UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'a'")
  t.match(await exposeMany([await store.jobs.find('a')]), [{ state: 'failed' }])
  t.same(trips, ['exposeMany failed'])
  turnOn()
  t.match(await readMany(['a']), [{ state: 'failed' }], 'a cache that fails is not read any more')
})

t.test('an exposure of many jobs that outlives its epoch is repeated in the next one', async t => {
  const { cache, epoch, turnOn } = createFaulty()
  const gate = createGate()
  const gated: StatusCache = {
    ...cache,
    exposeMany: async (...args) => {
      await cache.exposeMany(...args)
      await gate.pass()
    }
  }
  const { store, sql } = await openParts(t, { cache: gated, epoch })
  const exposeMany = createExposeMany({
    cache: gated, epoch, views: createViews({ publicUrl: null, onInvalid: () => {} }), onExposed: () => {}
  })
  sql(insert)
  gate.shut()
  const exposing = exposeMany([await store.jobs.find('job-1')])
  await gate.reached()
  epoch.trip(epoch.view(), 'lost')
  turnOn()
  await cache.lease(epoch.view().epoch, 'job-1', 'old-reader')
  gate.open()
  await exposing
  t.same(await cache.lease(epoch.view().epoch, 'job-1', 'new-reader'), { kind: 'token', token: 'new-reader' })
})
