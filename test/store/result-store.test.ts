import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { insertJob } from '../../src/store/job-store.ts'
import { appendChunk, createResultStore, discardChunks, insertResult, OffsetMismatch } from '../../src/store/result-store.ts'
import { sqlite3 } from '../helpers/service.ts'
import { succeededJob } from './jobs.ts'
import { openStore } from './open.ts'

const facts = (bytes: Uint8Array) => ({
  contentType: 'application/octet-stream',
  fileName: 'result.bin',
  sizeBytes: bytes.byteLength,
  sha256: createHash('sha256').update(bytes).digest('base64'),
  inlineJson: null
})

t.test('bytes are appended, and read back chunk by chunk', async t => {
  const { transact, database } = await openStore(t)
  const results = createResultStore({ database })
  const append = (offset: number, text: string) => transact(write => appendChunk(write, 'j', offset, Buffer.from(text)))
  t.equal(await append(0, 'abc'), 3)
  t.equal(await append(3, 'de'), 5)
  t.equal(await transact(write => appendChunk(write, 'other', 0, Buffer.from('x'))), 1)
  t.equal(await append(5, 'f'), 6)
  t.same((await Array.fromAsync(results.read('j', 6))).map(String), ['abc', 'de', 'f'])
  t.same(await Array.fromAsync(results.read('nobody', 0)), [])
  await t.rejects(Array.fromAsync(results.read('j', 7)), { name: 'ResultTorn' }, 'a part is never taken for the whole')
  await t.rejects(Array.fromAsync(results.read('j', 4)), { name: 'ResultTorn' }, 'nor is more than the whole')
})

t.test('bytes out of place are refused, with the place', async t => {
  const { transact, database } = await openStore(t)
  const append = (offset: number, text: string) => transact(write => appendChunk(write, 'j', offset, Buffer.from(text)))
  await t.rejects(append(1, 'a'), new OffsetMismatch(0))
  await append(0, 'abc')
  for (const offset of [0, 1, 4, -1]) await t.rejects(append(offset, 'x'), { name: 'OffsetMismatch', offset: 3 })
  t.same((await Array.fromAsync(createResultStore({ database }).read('j', 3))).map(String), ['abc'])
})

t.test('no bytes are no chunk', async t => {
  const { transact, database } = await openStore(t)
  const append = (offset: number, text: string) => transact(write => appendChunk(write, 'j', offset, Buffer.from(text)))
  t.equal(await append(0, ''), 0)
  t.equal(await append(0, 'ab'), 2)
  t.equal(await append(2, ''), 2)
  await t.rejects(append(5, ''), { name: 'OffsetMismatch', offset: 2 })
  t.equal(await append(2, 'c'), 3)
  t.same((await Array.fromAsync(createResultStore({ database }).read('j', 3))).map(String), ['ab', 'c'])
})

t.test('what an earlier attempt wrote is discarded', async t => {
  const { transact, database } = await openStore(t)
  await transact(async write => {
    await appendChunk(write, 'j', 0, Buffer.from('old'))
    await appendChunk(write, 'k', 0, Buffer.from('kept'))
    await discardChunks(write, 'j')
    t.equal(await appendChunk(write, 'j', 0, Buffer.from('new')), 3)
  })
  const { read } = createResultStore({ database })
  t.same((await Array.fromAsync(read('j', 3))).map(String), ['new'])
  t.same((await Array.fromAsync(read('k', 4))).map(String), ['kept'])
})

t.test('a result is the bytes that were written, all of them', async t => {
  const { transact, store } = await openStore(t)
  const bytes = Buffer.from('abc')
  await transact(async write => {
    await insertJob(write, succeededJob('j'))
    await appendChunk(write, 'j', 0, bytes)
  })
  for (const sizeBytes of [0, 2, 4]) {
    await t.rejects(transact(write => insertResult(write, 'j', { ...facts(bytes), sizeBytes })), { name: 'OffsetMismatch', offset: 3 })
  }
  t.match(await store.find('j'), { job: { result: null } })
  await transact(write => insertResult(write, 'j', facts(bytes)))
  t.match(await store.find('j'), { job: { result: facts(bytes) } })
})

t.test('a result goes with its record', async t => {
  const { transact, path, database } = await openStore(t)
  await transact(async write => {
    await insertJob(write, succeededJob('j'))
    await appendChunk(write, 'j', 0, Buffer.from('abc'))
    await insertResult(write, 'j', facts(Buffer.from('abc')))
  })
  await sqlite3(path, 'DELETE FROM JobExecutionLog')
  await t.rejects(createResultStore({ database }).read('j', 3).next(), { name: 'ResultTorn' })
  t.equal(await sqlite3(path, 'SELECT (SELECT count(*) FROM JobResult) + (SELECT count(*) FROM JobResultChunk)'), '0')
})

t.test('a reader holds one chunk at a time, and no lock', async t => {
  const { transact, database } = await openStore(t)
  const append = (offset: number, text: string) => transact(write => appendChunk(write, 'j', offset, Buffer.from(text)))
  await append(0, 'abc')
  const reading = createResultStore({ database }).read('j', 8)
  t.equal(String((await reading.next()).value), 'abc')
  await append(3, 'later')
  t.equal(String((await reading.next()).value), 'later', 'the second chunk was not read before it was asked for')
  t.match(await reading.next(), { done: true })

  const interrupted = createResultStore({ database }).read('j', 8)
  await interrupted.next()
  database.reader.close()
  await t.rejects(interrupted.next())
})

t.test('whatever the pieces, the bytes come back', async t => {
  const { transact, database } = await openStore(t)
  const { read } = createResultStore({ database })
  await fc.assert(fc.asyncProperty(fc.uuid(), fc.array(fc.uint8Array({ maxLength: 50 })), async (jobId, pieces) => {
    await transact(async write => {
      let offset = 0
      for (const piece of pieces) offset = await appendChunk(write, jobId, offset, piece)
      await insertResult(write, jobId, facts(Buffer.concat(pieces)))
    })
    t.same(Buffer.concat(await Array.fromAsync(read(jobId, Buffer.concat(pieces).length))), Buffer.concat(pieces))
  }), { numRuns: 50 })
})
