import t, { type Test } from 'tap'
import type { StatusEntry } from '../../src/job/status-entry.ts'
import { type Await, createAwaitMany } from '../../src/status/await-many.ts'
import { createGate, openParts } from '../helpers/parts.ts'

const never = new Promise<never>(() => {})
const isEnd = ({ state }: StatusEntry): boolean => state !== 'queued' && state !== 'running'
const set = (jobId: string, status: string) => `UPDATE JobExecutionLog SET status = '${status}' WHERE jobId = '${jobId}';`

/** Awaits the end of all. `read` and `news` have how often all were read, and which changes were noticed. */
const open = async (t: Test) => {
  const parts = await openParts(t)
  const { watch, readMany, store, expose, sql } = parts
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Running'), ('b', 'Running')")
  const awaitMany = createAwaitMany(watch)
  const gate = createGate()
  const noticed: string[] = []
  let reads = 0
  const untilEnd: Await = entries => {
    const open = new Set(entries.filter(entry => !isEnd(entry)).map(({ jobId }) => jobId))
    if (open.size === 0) return null
    return entry => {
      noticed.push(`${entry.jobId} ${entry.state}`)
      if (isEnd(entry)) open.delete(entry.jobId)
      return open.size === 0
    }
  }
  const read = async () => {
    reads++
    const entries = await readMany(['a', 'b'])
    await gate.pass()
    return entries
  }
  return {
    ...parts,
    gate,
    noticed,
    reads: () => reads,
    start: (ended: Promise<unknown> = never) => awaitMany(['a', 'b'], read, untilEnd, ended),
    change: async (jobId: string, status: string) => {
      sql(set(jobId, status))
      await expose(await store.jobs.find(jobId))
    }
  }
}

t.test('reads all once at the beginning and once at the end, whatever happens between', async t => {
  const { start, change, reads, gate, watch, advance } = await open(t)
  gate.shut()
  const awaited = start()
  await gate.reached()
  gate.open()
  await new Promise(setImmediate)
  for (const percent of [1, 2, 3]) advance(percent)
  await change('a', 'Succeeded')
  t.equal(reads(), 1)
  await change('b', 'Failed')
  t.match(await awaited, [{ jobId: 'a', state: 'succeeded' }, { jobId: 'b', state: 'failed' }])
  t.equal(reads(), 2)
  t.equal(watch.isInUse(), false)
})

t.test('changes during the first read count if they are newer than what it returns', async t => {
  const { start, change, gate, reads } = await open(t)
  gate.shut()
  const awaited = start()
  await gate.reached()
  await change('a', 'Succeeded')
  await change('b', 'Succeeded')
  gate.open()
  t.match(await awaited, [{ state: 'succeeded' }, { state: 'succeeded' }])
  t.equal(reads(), 2)
})

t.test('a change that is older than what was read is not taken for a newer one', async t => {
  const { start, sql, store, toEntry, gate, noticed, watch, change } = await open(t)
  const older = toEntry(await store.jobs.find('a'))
  sql(set('a', 'Succeeded'))
  gate.shut()
  const awaited = start()
  watch.onExposed(older)
  await gate.reached()
  gate.open()
  await new Promise(setImmediate)
  t.notOk(noticed.includes('a running'))
  await change('b', 'Succeeded')
  t.match(await awaited, [{ state: 'succeeded' }, { state: 'succeeded' }])
})

t.test('a wait that ends first returns null, and a read that fails is thrown; neither leaves anything behind', async t => {
  const { start, watch } = await open(t)
  t.equal(await start(Promise.resolve()), null)
  t.equal(watch.isInUse(), false)
  const failing = createAwaitMany(watch)(['a'], () => Promise.reject(new Error('down')), () => null, never)
  await t.rejects(failing, { message: 'down' })
  t.equal(watch.isInUse(), false)
})
