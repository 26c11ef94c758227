import t, { type Test } from 'tap'
import { createRelay } from '../../src/background/relay.ts'
import type { StatusEntry } from '../../src/job/status-entry.ts'
import { createJobWatch } from '../../src/status/await-change.ts'
import { createInvalidate } from '../../src/status/expose.ts'
import { createGate, openParts } from '../helpers/parts.ts'

/** What the relay has begun is over: no part of these tests waits for anything but the event loop. */
const settled = async () => { for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate) }

const never = new Promise<never>(() => {})
const isEnd = ({ state }: StatusEntry): boolean => state !== 'queued' && state !== 'running'
const running = "INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')"
const succeeded = "UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = 'job-1'"

/** The parts, and a relay that is run by hand. `entries` has what a subscriber of job-1 was called with. */
const open = async (t: Test) => {
  const parts = await openParts(t)
  const { store, cache, epoch, watch } = parts
  const relay = createRelay({
    follower: await store.changes.follow(),
    invalidate: createInvalidate({ cache, epoch }),
    onChanges: watch.onChanges,
    onGap: () => { t.fail('no gap') }
  })
  const entries: StatusEntry[] = []
  return {
    ...parts,
    relay: async () => {
      await relay()
      await settled()
    },
    entries,
    follow: (...jobIds: string[]) => watch.subscribe(jobIds, entry => { entries.push(entry) }),
    expose: async (jobId = 'job-1') => { await parts.expose(await store.jobs.find(jobId)) }
  }
}

/** A watch whose reads, once they have read, wait at a gate. */
const openGated = ({ store, readStatus }: Pick<Awaited<ReturnType<typeof openParts>>, 'store' | 'readStatus'>) => {
  const gate = createGate()
  const watch = createJobWatch({
    findVersions: store.jobs.findVersions,
    readStatus: async (...args) => {
      const entry = await readStatus(...args)
      await gate.pass()
      return entry
    }
  })
  return { gate, watch }
}

t.test('returns at once what is awaited already', async t => {
  const { watch, sql } = await open(t)
  sql(`${running}; ${succeeded}`)
  t.match(await watch.awaitEntry('job-1', 0, isEnd, never), { state: 'succeeded' })
  t.match(await watch.awaitEntry('no-such-job', 0, isEnd, never), { state: 'absent' })
  t.equal(watch.isInUse(), false)
})

t.test('an exposure by this process wakes with its entry, and without another read', async t => {
  const { watch, sql, expose, reads } = await open(t)
  sql(running)
  const awaited = watch.awaitEntry('job-1', 0, isEnd, never)
  await watch.awaitEntry('job-1', 0, () => true, never)
  const before = reads.length
  sql("UPDATE JobExecutionLog SET progressPercent = 50 WHERE jobId = 'job-1'")
  await expose()
  sql(succeeded)
  await expose()
  t.match(await awaited, { state: 'succeeded' })
  t.equal(reads.length, before)
  t.equal(watch.isInUse(), false)
})

t.test('the relay wakes for a change that another program made, and the job is read once for all', async t => {
  const { watch, sql, relay, reads } = await open(t)
  sql(running)
  const awaited = [1, 2, 3].map(() => watch.awaitEntry('job-1', 0, isEnd, never))
  await relay()
  const before = reads.length
  sql(succeeded)
  await relay()
  const entries = await Promise.all(awaited)
  t.match(entries, [{ state: 'succeeded' }, { state: 'succeeded' }, { state: 'succeeded' }])
  t.same(reads.slice(before), ['store'])
})

t.test('no change between the first read and the wait is missed', async t => {
  const parts = await open(t)
  const { store, cache, epoch, expose, sql } = parts
  const { gate, watch } = openGated(parts)
  sql(running)
  gate.shut()
  const awaited = watch.awaitEntry('job-1', 0, isEnd, never)
  await gate.reached()
  sql(succeeded)
  await expose()
  const relay = createRelay({
    follower: await store.changes.follow(`${store.incarnation}-0`),
    invalidate: createInvalidate({ cache, epoch }),
    onChanges: watch.onChanges,
    onGap: () => {}
  })
  await relay()
  gate.open()
  t.match(await awaited, { state: 'succeeded' })
})

t.test('a wait that ends first returns null and leaves nothing behind', async t => {
  const { watch, sql } = await open(t)
  sql(running)
  t.equal(await watch.awaitEntry('job-1', 0, isEnd, Promise.resolve()), null)
  t.equal(watch.isInUse(), false)
})

t.test('versions only rise, whatever order they are exposed in', async t => {
  const { sql, store, follow, watch, toEntry, entries, advance } = await open(t)
  sql(running)
  follow('job-1')
  const older = toEntry(await store.jobs.find('job-1'))
  const version = advance(10)
  const newer = toEntry(await store.jobs.find('job-1'))
  for (const entry of [newer, older, newer]) watch.onExposed(entry)
  t.same(entries.map(entry => entry.version), [version])
})

t.test('a subscriber of several jobs hears of each, until it leaves', async t => {
  const { sql, follow, entries, relay, expose } = await open(t)
  const leave = follow('job-1', 'job-2', 'job-2')
  sql(running)
  await expose()
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-2', 'Queued'), ('job-3', 'Queued')")
  await relay()
  t.same(entries.map(({ jobId }) => jobId), ['job-1', 'job-2'])
  leave()
  sql(succeeded)
  await relay()
  t.equal(entries.length, 2)
})

t.test('a change of one job is not taken for an old one because another has a newer version', async t => {
  const { sql, follow, entries, relay, expose } = await open(t)
  follow('job-1', 'job-2')
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-2', 'Queued')")
  sql(running)
  await expose()
  t.same(entries.map(({ jobId }) => jobId), ['job-1'])
  await relay()
  t.same(entries.map(({ jobId }) => jobId), ['job-1', 'job-2'])
})

t.test('a job that is deleted, and one whose tombstone is removed, wake too', async t => {
  const { sql, follow, entries, relay, expose } = await open(t)
  follow('job-1')
  sql(running)
  await expose()
  sql('DELETE FROM JobExecutionLog')
  await relay()
  sql("DELETE FROM JobTombstone; INSERT INTO JobChange (jobId) VALUES ('job-1')")
  await relay()
  t.match(entries, [{ state: 'running' }, { state: 'expired' }])
  t.equal(entries.length, 2, 'gone is gone')
})

t.test('a job that vanishes without a tombstone wakes once', async t => {
  const { sql, follow, entries, relay, expose } = await open(t)
  follow('job-1')
  sql(running)
  await expose()
  sql('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone')
  await relay()
  sql("INSERT INTO JobChange (jobId) VALUES ('job-1')")
  await relay()
  t.match(entries, [{ state: 'running' }, { state: 'absent' }])
  t.equal(entries.length, 2)
})

t.test('a wake-up that was lost is made up for by the recheck', async t => {
  const { watch, sql, follow, entries, expose } = await open(t)
  follow('job-1', 'no-such-job')
  sql(running)
  await expose()
  await watch.recheck()
  await settled()
  t.equal(entries.length, 1, 'nothing was lost')
  sql(succeeded)
  await watch.recheck()
  await settled()
  t.match(entries, [{ state: 'running' }, { state: 'succeeded' }])
  sql('DELETE FROM JobExecutionLog')
  await watch.recheck()
  await settled()
  t.match(entries.slice(2), [{ state: 'expired' }])
  await watch.recheck()
  await settled()
  t.equal(entries.length, 3)
})

t.test('a recheck compares a bounded number of jobs, and the next one those after them', async t => {
  const { readStatus } = await open(t)
  const asked: string[][] = []
  const watch = createJobWatch({
    readStatus,
    findVersions: jobIds => {
      asked.push([...jobIds])
      return Promise.resolve(new Map())
    }
  })
  const jobIds = Array.from({ length: 45_000 }, (_, index) => `job-${index}`)
  for (let client = 0; client < 450; client++) watch.subscribe(jobIds.slice(client * 100, client * 100 + 100), () => {})
  const counts: number[] = []
  for (let round = 0; round < 3; round++) {
    const before = asked.flat().length
    await watch.recheck()
    counts.push(asked.flat().length - before)
  }
  t.same(counts, [20_000, 20_000, 5000])
  t.same(asked.flat(), jobIds, 'each once')
  t.ok(asked.every(({ length }) => length <= 500))
  await watch.recheck()
  t.equal(asked.flat()[45_000], 'job-0', 'and then from the beginning')
})

t.test('a read that fails is repeated by the recheck', async t => {
  const parts = await open(t)
  const { store, sql, readStatus } = parts
  let isDown = false
  const watch = createJobWatch({
    findVersions: store.jobs.findVersions,
    readStatus: async (...args) => {
      if (isDown) throw new Error('down')
      return await readStatus(...args)
    }
  })
  sql(running)
  const awaited = watch.awaitEntry('job-1', 0, isEnd, never)
  await watch.awaitEntry('job-1', 0, () => true, never)
  isDown = true
  sql(succeeded)
  const version = (await store.jobs.findVersion('job-1')) ?? 0
  watch.onChanges([{ jobId: 'job-1', version }])
  await settled()
  isDown = false
  await watch.recheck()
  await settled()
  t.match(await awaited, { state: 'succeeded', version })
})

t.test('a change that comes during a read is read after it', async t => {
  const parts = await open(t)
  const { sql, cache, epoch, advance } = parts
  const invalidate = createInvalidate({ cache, epoch })
  const { gate, watch } = openGated(parts)
  sql(running)
  const versions: number[] = []
  watch.subscribe(['job-1'], ({ version }) => { versions.push(version) })
  gate.shut()
  const [first, second] = [advance(10), advance(20)]
  watch.onChanges([{ jobId: 'job-1', version: first }])
  await gate.reached()
  const third = advance(30)
  await invalidate('job-1', third)
  watch.onChanges([{ jobId: 'job-1', version: third }])
  gate.open()
  await t.resolves(watch.awaitEntry('job-1', 0, ({ version }) => version >= third, never))
  await settled()
  t.same(versions, [second, third])
})

t.test('what is exposed during the first read, and is older than it, is not what is waited for', async t => {
  const parts = await open(t)
  const { sql, readStatus, advance } = parts
  const { gate, watch } = openGated(parts)
  sql(running)
  const old = await readStatus('job-1', 0)
  const current = advance(10)
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  gate.shut()
  const awaited = watch.awaitEntry('job-1', current, ({ version }) => version !== current, ended)
  await gate.reached()
  watch.onExposed(old)
  gate.open()
  await settled()
  end()
  t.equal(await awaited, null, `not version ${old.version}`)
})

t.test('who follows a job gets it as it is, and then only what is newer', async t => {
  const parts = await open(t)
  const { store, sql, readStatus, advance, expose, toEntry } = parts
  const { gate, watch } = openGated(parts)
  sql(running)
  const old = await readStatus('job-1', 0)
  const current = advance(10)
  await expose()
  const versions: number[] = []
  gate.shut()
  const following = watch.follow('job-1', 0, ({ version }) => { versions.push(version) })
  await gate.reached()
  watch.onExposed(old)
  gate.open()
  const { entry, unfollow } = await following
  t.equal(entry.version, current)
  const next = advance(20)
  watch.onExposed(toEntry(await store.jobs.find('job-1')))
  unfollow()
  t.same(versions, [next], `neither ${old.version} nor ${current} again`)
})
