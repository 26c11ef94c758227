import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { insertJob } from '../../src/store/tx/jobs.ts'
import { appendChunk, discardChunks, insertResult, orphanResult } from '../../src/store/tx/results.ts'
import type { BytesOf } from '../../src/store/store.ts'
import { createResultReader } from '../../src/store/sqlite/result-reader.ts'
import { OffsetMismatch } from '../../src/job/lease.ts'
import { sqlite3 } from '../helpers/service.ts'
import { runningJob, succeededJob } from './jobs.ts'
import { openStore } from './open.ts'

const facts = (bytes: Uint8Array) => ({
  contentType: 'application/octet-stream',
  fileName: 'result.bin',
  sizeBytes: bytes.byteLength,
  sha256: createHash('sha256').update(bytes).digest('base64'),
  inlineJson: null
})

/** A store with a job `j` that runs for the first time, and its bytes. */
const openResults = async (t: Test) => {
  const opened = await openStore(t)
  const { transact, database } = opened
  await transact(tx => insertJob(tx, runningJob('j')))
  const results = createResultReader({ database })
  return {
    ...opened,
    results,
    append: (offset: number, text: string, jobId = 'j') => transact(tx => appendChunk(tx, jobId, offset, Buffer.from(text))),
    texts: async (start: number, end: number, of: BytesOf = { jobId: 'j', attempt: 1 }) =>
      (await Array.fromAsync(results.read(of, start, end))).map(String)
  }
}

t.test('bytes are appended, and read back chunk by chunk, from anywhere to anywhere', async t => {
  const { append, texts } = await openResults(t)
  t.equal(await append(0, 'abc'), 3)
  t.equal(await append(3, 'de'), 5)
  t.equal(await append(0, 'x', 'other'), 1)
  t.equal(await append(5, 'f'), 6)
  t.same(await texts(0, 6), ['abc', 'de', 'f'])
  t.same(await texts(1, 5), ['bc', 'de'])
  t.same(await texts(1, 2), ['b'])
  t.same(await texts(3, 4), ['d'])
  t.same(await texts(6, 6), [])
  t.same(await texts(0, 0, { jobId: 'nobody', attempt: 1 }), [])
  await t.rejects(texts(0, 7), { name: 'ResultTorn' }, 'a part is never taken for the whole')
  await t.rejects(texts(6, 7), { name: 'ResultTorn' })
  await t.rejects(texts(9, 10), { name: 'ResultTorn' })
})

t.test('bytes out of place are refused, with the place', async t => {
  const { append, texts } = await openResults(t)
  await t.rejects(append(1, 'a'), new OffsetMismatch(0))
  await append(0, 'abc')
  for (const offset of [0, 1, 4, -1]) await t.rejects(append(offset, 'x'), { name: 'OffsetMismatch', offset: 3 })
  t.same(await texts(0, 3), ['abc'])
})

t.test('no bytes are no chunk', async t => {
  const { append, texts } = await openResults(t)
  t.equal(await append(0, ''), 0)
  t.equal(await append(0, 'ab'), 2)
  t.equal(await append(2, ''), 2)
  await t.rejects(append(5, ''), { name: 'OffsetMismatch', offset: 2 })
  t.equal(await append(2, 'c'), 3)
  t.same(await texts(0, 3), ['ab', 'c'])
})

t.test('what an earlier attempt wrote is discarded, a portion at a time', async t => {
  const { append, texts, transact } = await openResults(t)
  await append(0, 'old')
  await append(3, 'er')
  await append(5, '!')
  await append(0, 'kept', 'k')
  t.equal(await transact(tx => discardChunks(tx, 'j', 2)), 2)
  t.equal(await transact(tx => discardChunks(tx, 'j', 2)), 1)
  t.equal(await transact(tx => discardChunks(tx, 'j', 2)), 0)
  t.equal(await append(0, 'new'), 3)
  t.same(await texts(0, 3), ['new'])
  t.equal(await append(4, 's', 'k'), 5)
})

t.test('bytes that were meant are never followed by those of another attempt', async t => {
  const { append, results, transact, path } = await openResults(t)
  const refill = async (change: string) => {
    await sqlite3(path, change)
    await transact(tx => discardChunks(tx, 'j', 10))
    await append(0, 'ABC')
    await append(3, 'DEF')
  }
  await append(0, 'abc')
  await append(3, 'def')
  const ofAttempt = results.read({ jobId: 'j', attempt: 1 }, 0, 6)
  t.equal(String((await ofAttempt.next()).value), 'abc')
  await refill("UPDATE JobExecutionLog SET attempt = 2 WHERE jobId = 'j'")
  await t.rejects(ofAttempt.next(), { name: 'ResultTorn' })

  await transact(tx => insertResult(tx, 'j', facts(Buffer.from('ABCDEF'))))
  const { sha256 } = facts(Buffer.from('ABCDEF'))
  const ofResult = results.read({ jobId: 'j', sha256 }, 0, 6)
  t.equal(String((await ofResult.next()).value), 'ABC')
  await refill("UPDATE JobResult SET sha256 = 'x' WHERE jobId = 'j'")
  await t.rejects(ofResult.next(), { name: 'ResultTorn' })
})

t.test('a result is the bytes that were written, all of them', async t => {
  const { transact, store, append } = await openResults(t)
  await transact(tx => insertJob(tx, succeededJob('s')))
  await append(0, 'abc', 's')
  const bytes = Buffer.from('abc')
  for (const sizeBytes of [0, 2, 4]) {
    await t.rejects(transact(tx => insertResult(tx, 's', { ...facts(bytes), sizeBytes })), { name: 'OffsetMismatch', offset: 3 })
  }
  t.match(await store.jobs.find('s'), { job: { result: null } })
  await transact(tx => insertResult(tx, 's', facts(bytes)))
  t.match(await store.jobs.find('s'), { job: { result: facts(bytes) } })
})

t.test('a result ends with its record, and its bytes are left to the pruner', async t => {
  const { transact, path, append, results } = await openResults(t)
  const { sha256 } = facts(Buffer.from('abc'))
  const orphans = () => sqlite3(path, 'SELECT holder, id, forgetAt FROM OrphanedBytes')
  for (const end of [() => sqlite3(path, "DELETE FROM JobExecutionLog WHERE jobId = 's'"), () => transact(tx => orphanResult(tx, 's'))]) {
    await transact(tx => insertJob(tx, succeededJob('s')))
    await append(0, 'abc', 's')
    await transact(tx => insertResult(tx, 's', facts(Buffer.from('abc'))))
    t.equal(await orphans(), '')
    t.equal(String((await results.read({ jobId: 's', sha256 }, 0, 3).next()).value), 'abc')
    await end()
    await t.rejects(results.read({ jobId: 's', sha256 }, 0, 3).next(), { name: 'ResultTorn' })
    t.equal(await orphans(), 'JobResultChunk|s|0')
    await sqlite3(path, "DELETE FROM OrphanedBytes; DELETE FROM JobResultChunk WHERE jobId = 's'; DELETE FROM JobExecutionLog WHERE jobId = 's'")
    await transact(tx => orphanResult(tx, 's'))
    t.equal(await orphans(), '', 'where there are no bytes nothing is left')
  }
})

t.test('only a job that runs, and is held, has a part of a result', async t => {
  const { path, results, append } = await openResults(t)
  t.equal(await results.findPartial('j'), undefined, 'nobody of ours runs it')
  await sqlite3(path, "INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, leaseToken, leaseExpiresAt) VALUES ('j', 'x', 1, 0, 'l', 1)")
  t.same(await results.findPartial('j'), { attempt: 1, sizeBytes: 0, contentType: null, fileName: null })
  await append(0, 'abc')
  await append(3, 'de')
  await append(0, 'longer', 'other')
  await sqlite3(path, "UPDATE JobQueue SET resultContentType = 'text/csv', resultFileName = 'a.csv'")
  t.same(await results.findPartial('j'), { attempt: 1, sizeBytes: 5, contentType: 'text/csv', fileName: 'a.csv' })
  await sqlite3(path, 'UPDATE JobQueue SET leaseToken = NULL, leaseExpiresAt = NULL')
  t.equal(await results.findPartial('j'), undefined)
  await sqlite3(path, "UPDATE JobQueue SET leaseToken = 'l', leaseExpiresAt = 1; UPDATE JobExecutionLog SET status = 'Succeeded'")
  t.equal(await results.findPartial('j'), undefined)
  t.equal(await results.findPartial('nobody'), undefined)
})

t.test('a reader holds one chunk at a time, and no lock', async t => {
  const { append, results, database } = await openResults(t)
  await append(0, 'abc')
  const reading = results.read({ jobId: 'j', attempt: 1 }, 0, 8)
  t.equal(String((await reading.next()).value), 'abc')
  await append(3, 'later')
  t.equal(String((await reading.next()).value), 'later', 'the second chunk was not read before it was asked for')
  t.match(await reading.next(), { done: true })

  const interrupted = results.read({ jobId: 'j', attempt: 1 }, 0, 8)
  await interrupted.next()
  database.reader.close()
  await t.rejects(interrupted.next())
})

t.test('whoever takes the chunks as fast as they come leaves turns to others', async t => {
  const { append, results } = await openResults(t)
  for (let offset = 0; offset < 10; offset++) await append(offset, 'x')
  let turns = 0
  let reading = true
  const count = () => {
    turns++
    if (reading) setImmediate(count)
  }
  setImmediate(count)
  t.equal((await Array.fromAsync(results.read({ jobId: 'j', attempt: 1 }, 0, 10))).length, 10)
  reading = false
  t.ok(turns >= 9, `${turns} turns`)
})

t.test('whatever the pieces, the bytes come back, from anywhere to anywhere', async t => {
  const { transact, results } = await openResults(t)
  await fc.assert(fc.asyncProperty(fc.uuid(), fc.array(fc.uint8Array({ maxLength: 50 })), fc.nat(), fc.nat(), async (jobId, pieces, one, other) => {
    const bytes = Buffer.concat(pieces)
    await transact(async tx => {
      let offset = 0
      for (const piece of pieces) offset = await appendChunk(tx, jobId, offset, piece)
      await insertResult(tx, jobId, facts(bytes))
    })
    const [start = 0, end = 0] = [one, other].map(at => at % (bytes.length + 1)).sort((a, b) => a - b)
    const { sha256 } = facts(bytes)
    t.same(Buffer.concat(await Array.fromAsync(results.read({ jobId, sha256 }, start, end))), bytes.subarray(start, end))
  }), { numRuns: 50 })
})
