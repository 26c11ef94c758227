import { createHash } from 'node:crypto'
import fc from 'fast-check'
import type { Test } from 'tap'
import { OffsetMismatch } from '../../../src/job/lease.ts'
import type { BytesOf } from '../../../src/store/store.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { appendBytes, discardChunks, insertResult, orphanResult } from '../../../src/store/tx/results.ts'
import { runningJob, succeededJob } from '../jobs.ts'
import type { Conformance, OpenStoreUnderTest } from './store-under-test.ts'

const facts = (bytes: Uint8Array) => ({
  contentType: 'application/octet-stream',
  fileName: 'result.bin',
  sizeBytes: bytes.byteLength,
  sha256: createHash('sha256').update(bytes).digest('base64'),
  inlineJson: null
})

/** A store with a job `j` that runs for the first time, and its bytes. */
const openResults = async (t: Test, open: OpenStoreUnderTest) => {
  const opened = await open(t)
  const { transact, results } = opened.store
  await transact(tx => insertJob(tx, runningJob('j')))
  return {
    ...opened,
    transact,
    results,
    append: (offset: number, text: string, jobId = 'j') => transact(
      tx => appendBytes(tx, jobId, offset, Buffer.from(text))
    ),
    texts: async (start: number, end: number, of: BytesOf = { jobId: 'j', run: 1 }) =>
      (await Array.fromAsync(results.read(of, start, end))).map(String)
  }
}

const bytesConformance: Conformance = (t, open) => {
  t.test('reads appended bytes chunk by chunk, from any offset to any other', async t => {
    const { append, texts } = await openResults(t, open)
    t.equal(await append(0, 'abc'), 3)
    t.equal(await append(3, 'de'), 5)
    t.equal(await append(0, 'x', 'other'), 1)
    t.equal(await append(5, 'f'), 6)
    t.same(await texts(0, 6), ['abc', 'de', 'f'])
    t.same(await texts(1, 5), ['bc', 'de'])
    t.same(await texts(1, 2), ['b'])
    t.same(await texts(3, 4), ['d'])
    t.same(await texts(6, 6), [])
    t.same(await texts(0, 0, { jobId: 'never-made', run: 1 }), [])
    await t.rejects(texts(0, 7), { name: 'ResultTorn' }, 'the end of the bytes is not the end that was asked for')
    await t.rejects(texts(6, 7), { name: 'ResultTorn' })
    await t.rejects(texts(9, 10), { name: 'ResultTorn' })
  })

  t.test('rejects bytes out of place, with the offset at which the result goes on', async t => {
    const { append, texts } = await openResults(t, open)
    await t.rejects(append(1, 'a'), new OffsetMismatch(0))
    await append(0, 'abc')
    for (const offset of [0, 1, 4, -1]) await t.rejects(append(offset, 'x'), { name: 'OffsetMismatch', offset: 3 })
    t.same(await texts(0, 3), ['abc'])
  })

  t.test('stores no chunk for no bytes', async t => {
    const { append, texts } = await openResults(t, open)
    t.equal(await append(0, ''), 0)
    t.equal(await append(0, 'ab'), 2)
    t.equal(await append(2, ''), 2)
    await t.rejects(append(5, ''), { name: 'OffsetMismatch', offset: 2 })
    t.equal(await append(2, 'c'), 3)
    t.same(await texts(0, 3), ['ab', 'c'])
  })

  t.test('discards what an earlier attempt wrote, a few chunks at a time', async t => {
    const { append, texts, transact } = await openResults(t, open)
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

  t.test('never continues with the bytes of another attempt', async t => {
    const { append, results, transact, sql } = await openResults(t, open)
    const refill = async (change: string) => {
      await sql(change)
      await transact(tx => discardChunks(tx, 'j', 10))
      await append(0, 'ABC')
      await append(3, 'DEF')
    }
    await append(0, 'abc')
    await append(3, 'def')
    const ofRun = results.read({ jobId: 'j', run: 1 }, 0, 6)
    t.equal(String((await ofRun.next()).value), 'abc')
    await refill("UPDATE JobExecutionLog SET attempt = 2 WHERE jobId = 'j'")
    await t.rejects(ofRun.next(), { name: 'ResultTorn' })

    await transact(tx => insertResult(tx, 'j', facts(Buffer.from('ABCDEF'))))
    const { sha256 } = facts(Buffer.from('ABCDEF'))
    const ofResult = results.read({ jobId: 'j', sha256 }, 0, 6)
    t.equal(String((await ofResult.next()).value), 'ABC')
    await refill("UPDATE JobResult SET sha256 = 'x' WHERE jobId = 'j'")
    await t.rejects(ofResult.next(), { name: 'ResultTorn' })
  })
}

const factsConformance: Conformance = (t, open) => {
  t.test('makes a result only of all bytes that were written', async t => {
    const { transact, store, append } = await openResults(t, open)
    await transact(tx => insertJob(tx, succeededJob('s')))
    await append(0, 'abc', 's')
    const bytes = Buffer.from('abc')
    for (const sizeBytes of [0, 2, 4]) {
      await t.rejects(transact(tx => insertResult(tx, 's', { ...facts(bytes), sizeBytes })), {
        name: 'OffsetMismatch', offset: 3
      })
    }
    t.match(await store.jobs.find('s'), { job: { result: null } })
    await transact(tx => insertResult(tx, 's', facts(bytes)))
    t.match(await store.jobs.find('s'), { job: { result: facts(bytes) } })
  })

  t.test('removes the facts of a result with its record, and leaves the bytes to the pruner', async t => {
    const { transact, sql, count, append, results } = await openResults(t, open)
    const { sha256 } = facts(Buffer.from('abc'))
    const orphans = () => count("OrphanedBytes WHERE holder = 'JobResultChunk' AND id = 's' AND forgetAt = 0")
    for (const end of [
      () => sql("DELETE FROM JobExecutionLog WHERE jobId = 's'"), () => transact(tx => orphanResult(tx, 's'))
    ]) {
      await transact(tx => insertJob(tx, succeededJob('s')))
      await append(0, 'abc', 's')
      await transact(tx => insertResult(tx, 's', facts(Buffer.from('abc'))))
      t.equal(await orphans(), 0)
      t.equal(String((await results.read({ jobId: 's', sha256 }, 0, 3).next()).value), 'abc')
      await end()
      await t.rejects(results.read({ jobId: 's', sha256 }, 0, 3).next(), { name: 'ResultTorn' })
      t.equal(await orphans(), 1)
      await sql(
        "DELETE FROM OrphanedBytes; DELETE FROM JobResultChunk WHERE jobId = 's'; DELETE FROM JobExecutionLog WHERE jobId = 's'"
      )
      await transact(tx => orphanResult(tx, 's'))
      t.equal(await orphans(), 0, 'without bytes, there is nothing to prune')
    }
  })

  t.test('finds a partial result only while the job runs under a lease', async t => {
    const { sql, results, append } = await openResults(t, open)
    t.equal(await results.findPartial('j'), undefined, 'no worker of ours runs it')
    await sql(
      "INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, leaseToken, leaseExpiresAt, seq) VALUES ('j', 'x', 1, 0, 'l', 1, 1)"
    )
    t.same(await results.findPartial('j'), { attempt: 1, run: 1, sizeBytes: 0, contentType: null, fileName: null })
    await append(0, 'abc')
    await append(3, 'de')
    await append(0, 'longer', 'other')
    await sql("UPDATE JobQueue SET resultContentType = 'text/csv', resultFileName = 'a.csv'")
    t.same(await results.findPartial('j'), { attempt: 1, run: 1, sizeBytes: 5, contentType: 'text/csv', fileName: 'a.csv' })
    await sql('UPDATE JobQueue SET leaseToken = NULL, leaseExpiresAt = NULL')
    t.equal(await results.findPartial('j'), undefined)
    await sql(
      "UPDATE JobQueue SET leaseToken = 'l', leaseExpiresAt = 1; UPDATE JobExecutionLog SET status = 'Succeeded'"
    )
    t.equal(await results.findPartial('j'), undefined)
    t.equal(await results.findPartial('never-made'), undefined)
  })

  t.test('reads one chunk at a time, and holds no lock', async t => {
    const { append, results, openAnother } = await openResults(t, open)
    await append(0, 'abc')
    const reading = results.read({ jobId: 'j', run: 1 }, 0, 8)
    t.equal(String((await reading.next()).value), 'abc')
    await append(3, 'later')
    t.equal(String((await reading.next()).value), 'later', 'the second chunk was not read before it was asked for')
    t.match(await reading.next(), { done: true })

    const another = await openAnother()
    const interrupted = another.results.read({ jobId: 'j', run: 1 }, 0, 8)
    await interrupted.next()
    await another.close()
    await t.rejects(interrupted.next())
  })

  t.test('lets the event loop turn between the reads of chunks', async t => {
    const { append, results, store: { kind } } = await openResults(t, open)
    // Postgres is asked for one chunk, then for four at a time.
    const readsMin = { sqlite: 10, postgres: 4 }[kind]
    for (let offset = 0; offset < 10; offset++) await append(offset, 'x')
    let turns = 0
    let reading = true
    const count = () => {
      turns++
      if (reading) setImmediate(count)
    }
    setImmediate(count)
    t.equal((await Array.fromAsync(results.read({ jobId: 'j', run: 1 }, 0, 10))).length, 10)
    reading = false
    t.ok(turns >= readsMin - 1, `${turns} turns`)
  })

  t.test('reads back any bytes, in whatever pieces they were written', async t => {
    const { transact, results } = await openResults(t, open)
    await fc.assert(fc.asyncProperty(fc.uuid(), fc.array(fc.uint8Array(
      { maxLength: 50 }
    )), fc.nat(), fc.nat(), async (jobId, pieces, one, other) => {
      const bytes = Buffer.concat(pieces)
      await transact(async tx => {
        let offset = 0
        for (const piece of pieces) offset = await appendBytes(tx, jobId, offset, piece)
        await insertResult(tx, jobId, facts(bytes))
      })
      const [start = 0, end = 0] = [one, other].map(at => at % (bytes.length + 1)).sort((a, b) => a - b)
      const { sha256 } = facts(bytes)
      t.same(Buffer.concat(await Array.fromAsync(
        results.read({ jobId, sha256 }, start, end)
      )), bytes.subarray(start, end))
    }), { numRuns: 50 })
  })
}

/** Bytes of results, as they are written and as they are read. */
export const resultsConformance: Conformance = (t, open) => {
  bytesConformance(t, open)
  factsConformance(t, open)
}
