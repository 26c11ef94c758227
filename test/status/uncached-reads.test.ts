import t from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import type { Epoch, View } from '../../src/status/epoch/epoch.ts'
import { createFillPolicy, type FillPolicy } from '../../src/status/fill-policy.ts'
import { createGate, openParts } from '../helpers/parts.ts'

const insert = "INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')"

type CellUse = 'get' | 'lease' | 'bypass'
type Operation = 'get' | 'lease' | 'expose' | 'invalidate'

/** A cache whose commands are listed, and can fail. */
const createWatched = () => {
  const cache = createMemoryCache({ now: () => 1, random: () => 0 })
  const calls: string[] = []
  const broken = new Set<Operation>()
  const through = <Args extends unknown[], Value>(name: Operation, run: (...args: Args) => Value | Promise<Value>) =>
    async (...args: Args): Promise<Value> => {
      calls.push(name)
      if (broken.has(name)) throw new Error(`${name} failed`)
      return await run(...args)
    }
  const watched: StatusCache = {
    ...cache,
    get: through('get', cache.get),
    lease: through('lease', cache.lease),
    expose: through('expose', cache.expose),
    invalidate: through('invalidate', cache.invalidate)
  }
  return { cache: watched, calls, broken }
}

/** Reads use their cells as the test says; what they found is listed. */
const createChosen = () => {
  const found: string[] = []
  let use: CellUse = 'bypass'
  const fillPolicy: FillPolicy = {
    expectsMiss: () => use !== 'get',
    isWorthFilling: () => use !== 'bypass',
    onHit: () => { found.push('hit') },
    onMiss: () => { found.push('miss') },
    onLoad: () => {},
    onLoaded: () => {},
    onLoadFailed: () => { found.push('failed load') }
  }
  return { fillPolicy, found, choose: (next: CellUse) => { use = next } }
}

t.test('a read that bypasses its cell costs one command and fills nothing', async t => {
  const { cache, calls } = createWatched()
  const { fillPolicy, found } = createChosen()
  const { readStatus, reads, sql } = await openParts(t, { cache, fillPolicy })
  sql(insert)
  t.match(await readStatus('job-1', 0), { state: 'running', version: 1 })
  t.match(await readStatus('job-1', 0), { state: 'running', version: 1 })
  t.match(await readStatus('no-such-job', 0), { state: 'absent' })
  t.same(calls, ['invalidate', 'invalidate', 'invalidate'])
  t.same(reads, ['store', 'store', 'store'])
  t.same(found, ['miss', 'miss', 'miss'])
})

t.test('a read that leases at once costs two commands, and one if the entry is there', async t => {
  const { cache, calls } = createWatched()
  const { fillPolicy, found, choose } = createChosen()
  choose('lease')
  const { readStatus, reads, sql } = await openParts(t, { cache, fillPolicy })
  sql(insert)
  await readStatus('job-1', 0)
  t.match(await readStatus('job-1', 0), { version: 1 })
  t.same(calls, ['lease', 'expose', 'lease'])
  t.same(reads, ['store', 'cache'])
  t.same(found, ['miss', 'hit'])
})

t.test('a read that bypasses its cell leaves nothing older in it, and no token', async t => {
  const { cache } = createWatched()
  const { fillPolicy, found, choose } = createChosen()
  const { readStatus, sql, advance, epoch } = await openParts(t, { cache, fillPolicy })
  const { epoch: name } = epoch.view()
  sql(insert)
  choose('get')
  const first = await readStatus('job-1', 0)
  choose('bypass')
  t.same(await readStatus('job-1', 0), first)
  t.same(found, ['miss', 'hit'], 'an entry that is as new stays')
  const version = advance(50)
  t.match(await readStatus('job-1', 0), { version })
  t.same(await cache.get(name, 'job-1'), { kind: 'miss' })
  await cache.lease(name, 'job-1', 'slow reader')
  await readStatus('job-1', 0)
  await cache.expose(name, first, 'slow reader')
  t.same(await cache.get(name, 'job-1'), { kind: 'miss' }, 'a fill that began before has no effect')
})

t.test('a job that has ended is filled, because its entry lives long', async t => {
  const { cache, calls } = createWatched()
  const { fillPolicy, choose } = createChosen()
  const { readStatus, reads, sql } = await openParts(t, { cache, fillPolicy })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Failed')")
  t.match(await readStatus('job-1', 0), { state: 'failed' })
  choose('get')
  t.match(await readStatus('job-1', 0), { state: 'failed' })
  t.same(calls, ['lease', 'expose', 'get'])
  t.same(reads, ['store', 'cache'])
})

t.test('of a job that has ended a client gets nothing older than its floor', async t => {
  const { cache } = createWatched()
  const { fillPolicy, choose } = createChosen()
  const { readStatus, sql } = await openParts(t, { cache, fillPolicy })
  sql(insert)
  choose('get')
  await readStatus('job-1', 0)
  sql("UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'job-1'")
  choose('bypass')
  t.match(await readStatus('job-1', 2), { version: 2, state: 'failed' })
})

t.test('while the store is away a read that bypasses its cell is answered from it', async t => {
  const { cache } = createWatched()
  const { fillPolicy, found, choose } = createChosen()
  let isDown = false
  const { readStatus, sql } = await openParts(t, {
    cache,
    fillPolicy,
    aroundFind: find => async jobId => {
      if (isDown) throw new Error('down')
      return await find(jobId)
    }
  })
  sql(`${insert}, ('job-2', 'Failed')`)
  choose('get')
  await readStatus('job-2', 0)
  isDown = true
  choose('bypass')
  t.match(await readStatus('job-2', 0), { state: 'failed' })
  await t.rejects(async () => await readStatus('job-1', 0), /down/, 'and rejected if there is no entry')
  t.equal(found.filter(what => what === 'failed load').length, 1)
})

t.test('a command that fails ends the epoch, and the read is answered from the store', async t => {
  for (const [use, operation] of [['bypass', 'invalidate'], ['lease', 'lease'], ['lease', 'expose']] as const) {
    const { cache, broken } = createWatched()
    const { fillPolicy, choose } = createChosen()
    let view: View = { epoch: 'e0', mode: 'on' }
    const trips: string[] = []
    const epoch: Epoch = {
      view: () => view,
      trip: (_seen, reason) => {
        trips.push(reason)
        view = { epoch: 'e1', mode: 'off' }
      },
      awaitOldLeases: () => Promise.resolve(true)
    }
    const { readStatus, sql } = await openParts(t, { cache, epoch, fillPolicy })
    sql(insert)
    choose(use)
    broken.add(operation)
    t.match(await readStatus('job-1', 0), { version: 1 })
    t.same(trips, [`${operation} failed`])
  }
})

t.test('of clients that each read another job all but the first cost one command, until they read again', async t => {
  const { cache, calls } = createWatched()
  const fillPolicy = createFillPolicy({ monotonicNow: () => 1 })
  const { readStatus, sql } = await openParts(t, { cache, fillPolicy })
  sql(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'job-' || i, 'Running' FROM n`)
  const readAll = async () => {
    calls.length = 0
    for (let n = 0; n < 100; n++) await readStatus(`job-${n}`, 0)
    return calls.length
  }
  t.equal(await readAll(), 32 * 3 + 68)
  await readAll()
  await readAll()
  t.equal(await readAll(), 100)
  t.same(new Set(calls), new Set(['get']))
})

t.test('while the loads hang, what is cached is answered from the cache', async t => {
  const { cache } = createWatched()
  const gate = createGate()
  let now = 1
  const fillPolicy = createFillPolicy({ monotonicNow: () => now })
  const { readStatus, sql } = await openParts(t, {
    cache,
    fillPolicy,
    aroundFind: find => async jobId => {
      await gate.pass()
      return await find(jobId)
    }
  })
  sql(`${insert}, ('job-2', 'Running')`)
  await readStatus('job-1', 0)
  for (let n = 0; n < 100; n++) await readStatus(`no-such-job-${n}`, 0)
  t.equal(fillPolicy.expectsMiss(), true)
  gate.shut()
  const held = readStatus('job-2', 0)
  await gate.reached()
  now += 101
  t.match(await readStatus('job-1', 0), { version: 1 })
  gate.open()
  t.match(await held, { version: 2 })
  t.equal(fillPolicy.expectsMiss(), true, 'and then reads bypass their cells again')
})
