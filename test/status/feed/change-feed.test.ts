import t, { type Test } from 'tap'
import { createInvalidate } from '../../../src/status/expose.ts'
import { type ChangeFeed, createChangeFeed, type FeedReader } from '../../../src/status/feed/change-feed.ts'
import { createGate, openParts } from '../../helpers/parts.ts'

const settled = async () => { for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate) }
const never = new Promise<never>(() => {})

/** The feed on real parts. Its timers go off when the test moves the clock. `gate` holds reads of jobs. */
const open = async (t: Test) => {
  const parts = await openParts(t)
  const gate = createGate()
  const asked: string[] = []
  let clock = 0
  let timers: { at: number, work: () => void }[] = []
  const feed = createChangeFeed({
    changes: parts.store.changes,
    readStatus: async (jobId, floor) => {
      asked.push(jobId)
      const entry = await parts.readStatus(jobId, floor)
      await gate.pass()
      return entry
    },
    invalidate: createInvalidate(parts),
    monotonicNow: () => clock,
    schedule: (work, ms) => {
      timers.push({ at: clock + ms, work })
      return { cancel: () => {} }
    }
  })
  const tick = async (ms = 0) => {
    clock += ms
    const due = timers.filter(({ at }) => at <= clock)
    timers = timers.filter(({ at }) => at > clock)
    for (const { work } of due) work()
    await settled()
  }
  return { ...parts, feed, gate, asked, tick }
}

const start = async (feed: ChangeFeed, from?: string, ended: Promise<unknown> = never): Promise<FeedReader> => {
  const reader = await feed.open(from, ended)
  if (reader === null) throw new Error('no such place')
  return reader
}

const insert = (jobId: string) => `INSERT INTO JobExecutionLog (jobId, status) VALUES ('${jobId}', 'Running');`
const gist = async (reader: FeedReader) => (await reader.next()).itemsOf('acme')
  .map(({ jobId, version }) => `${jobId} ${version}`)

t.test('readers at one place share what was read for one of them', async t => {
  const { feed, sql, asked } = await open(t)
  const readers = await Promise.all(Array.from({ length: 50 }, () => start(feed)))
  for (let page = 1; page < 4; page += 1) {
    sql(insert(`a-${page}`) + insert(`b-${page}`))
    const found = await Promise.all(readers.map(gist))
    t.equal(new Set(found.map(items => items.join())).size, 1)
    t.same(found[0], [`a-${page} ${2 * page - 1}`, `b-${page} ${2 * page}`])
    t.equal(asked.length, 2 * page, 'each job was read once')
  }
  for (const reader of readers) reader.close()
  t.equal(feed.isInUse(), false)
})

t.test('a reader is not given what was read before it asked', async t => {
  const { feed, sql, gate, advance, asked } = await open(t)
  const first = await start(feed)
  const { cursor } = await first.next()
  sql(insert('job-1'))
  gate.shut()
  const early = gist(first)
  await gate.reached()
  const revealed = advance(50)
  const late = await start(feed, cursor)
  const fresh = gist(late)
  gate.open()
  t.same(await early, ['job-1 1'])
  t.same(await fresh, [`job-1 ${revealed}`])
  t.equal(asked.length, 2)
})

t.test('a reader is not given what was read before its own last page: no version falls', async t => {
  const { feed, sql, gate, advance } = await open(t)
  const place = (await start(feed)).cursor()
  sql(insert('job-1'))
  // The end of the first page, at which another reader begins early.
  const between = (await (await start(feed)).next()).cursor
  const [slow, quick] = [await start(feed, place), await start(feed, between)]
  sql(insert('job-2'))
  advance(10)
  gate.shut()
  const held = gist(quick)
  await gate.reached()
  gate.open()
  await held
  const versions: number[] = []
  const newest = advance(20)
  for (let page = 0; page < 2; page += 1) {
    for (const { jobId, version } of (await slow.next()).itemsOf('acme')) if (jobId === 'job-1') versions.push(version)
  }
  t.same(versions, [newest])
  t.same(versions, versions.toSorted((a, b) => a - b))
})

t.test('a job is not missed because a cell says that it is absent', async t => {
  const { feed, sql, readStatus } = await open(t)
  const reader = await start(feed)
  t.match(await readStatus('job-1', 0), { state: 'absent' })
  sql(insert('job-1'))
  t.match(await readStatus('job-1', 0), { state: 'absent' }, 'until the relay comes')
  t.same(await gist(reader), ['job-1 1'])
})

t.test('a change between the last page and the wait wakes, one that another reader saw before does not hide it', async t => {
  const { feed, sql, tick } = await open(t)
  const [one, other] = [await start(feed), await start(feed)]
  await one.next()
  sql(insert('job-1'))
  feed.onChanges()
  await tick()
  await one.awaitChanges()
  t.same(await gist(one), ['job-1 1'])

  await other.next()
  await one.next()
  let isWoken = false
  const woken = other.awaitChanges().then(() => { isWoken = true })
  // Read before the change, and by the time that the others are woken not yet given to anyone.
  const page = one.next()
  sql(insert('job-2'))
  feed.onChanges()
  await tick(1000)
  await woken
  t.ok(isWoken)
  await page
  t.same(await gist(other), ['job-2 2'])
})

t.test('a wake-up that was lost is made up for by the check, once', async t => {
  const { feed, sql, tick } = await open(t)
  await feed.recheck()
  const reader = await start(feed)
  let wakes = 0
  const wait = async () => {
    const items = await gist(reader)
    void reader.awaitChanges().then(() => { wakes += 1 })
    await settled()
    return items
  }
  await feed.recheck()
  await wait()
  await feed.recheck()
  t.equal(wakes, 0, 'there is nothing new')

  sql(insert('job-1'))
  await tick(10_000)
  t.equal(wakes, 0, 'nothing has told the feed')
  await feed.recheck()
  await settled()
  t.equal(wakes, 1)
  t.same(await wait(), ['job-1 1'])
  await feed.recheck()
  t.equal(wakes, 1)

  sql(insert('job-2'))
  await feed.recheck()
  await settled()
  t.equal(wakes, 2)
  t.same(await wait(), ['job-2 2'])
})

t.test('a wake-up whose timer is lost does not keep the check from waking', async t => {
  const { feed, sql } = await open(t)
  const reader = await start(feed)
  await reader.next()
  const woken = reader.awaitChanges()
  sql(insert('job-1'))
  feed.onChanges()
  await feed.recheck()
  await woken
  t.same(await gist(reader), ['job-1 1'])
})

t.test('a wait ends with its client, and a reader that is closed is not woken', async t => {
  const { feed } = await open(t)
  let end = () => {}
  const reader = await start(feed, undefined, new Promise<void>(resolve => { end = resolve }))
  await reader.next()
  const waiting = reader.awaitChanges()
  end()
  await waiting
  await reader.awaitChanges()
  t.equal(feed.isInUse(), true)
  reader.close()
  reader.close()
  t.equal(feed.isInUse(), false)
})

t.test('the more readers, the less often they are woken', async t => {
  for (const [count, pauseMs] of [[1, 0.025], [500, 12.5], [1000, 25], [2000, 25]] as const) {
    const { feed, tick } = await open(t)
    const readers = await Promise.all(Array.from({ length: count }, () => start(feed)))
    let woken = 0
    const wait = async () => { for (const reader of readers) await reader.next(); woken = 0; for (const reader of readers) void reader.awaitChanges().then(() => { woken += 1 }) }
    await wait()
    feed.onChanges()
    await tick()
    for (let slice = 0; slice < 10; slice += 1) await settled()
    t.equal(woken, count, 'the first change at once')
    await wait()
    feed.onChanges()
    feed.onChanges()
    await tick(pauseMs * 0.9)
    t.equal(woken, 0, `${count} readers`)
    await tick(pauseMs * 0.1001)
    for (let slice = 0; slice < 10; slice += 1) await settled()
    t.equal(woken, count, `after ${pauseMs} ms`)
  }
})

t.test('a failure leaves the reader where it is', async t => {
  const { feed, sql, gate } = await open(t)
  const reader = await start(feed)
  sql(insert('job-1'))
  sql('ALTER TABLE JobExecutionLog RENAME TO Elsewhere')
  await t.rejects(reader.next(), { code: 'STORE_UNAVAILABLE' })
  sql('ALTER TABLE Elsewhere RENAME TO JobExecutionLog')
  gate.open()
  t.same(await gist(reader), ['job-1 1'])
  t.equal(await feed.open('nonsense', never), null)
})
