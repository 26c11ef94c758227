import fc from 'fast-check'
import t, { type Test } from 'tap'
import { pruneOrphans } from '../../src/store/tx/retention.ts'
import { appendInputChunk, insertInput } from '../../src/store/tx/inputs.ts'
import { createInputReader } from '../../src/store/sqlite/input-reader.ts'
import { deleteJob, insertJob } from '../../src/store/tx/jobs.ts'
import { dequeue } from '../../src/store/tx/queue.ts'
import { queuedJob } from './jobs.ts'
import { openForeign, openStore } from './open.ts'

const plain = { input: '{}', access: '{}' }
const contentType = 'text/plain'

const open = async (t: Test) => {
  const opened = await openStore(t)
  const foreign = openForeign(t, opened.path)
  const { transact } = opened
  const upload = async (inputId: string, pieces: readonly Uint8Array[], forgetAt = 100) => {
    let sizeBytes = 0
    for (const bytes of pieces) {
      const startOffset = sizeBytes
      await transact(tx => appendInputChunk(tx, inputId, startOffset, bytes, forgetAt))
      sizeBytes += bytes.byteLength
    }
    return { inputId, sizeBytes, contentType }
  }
  return {
    ...opened,
    upload,
    inputs: createInputReader(opened),
    /** A job with these bytes. */
    take: (jobId: string, raw: Awaited<ReturnType<typeof upload>>) => transact(async tx => {
      await insertJob(tx, queuedJob(jobId))
      await insertInput(tx, jobId, { ...plain, raw })
    }),
    pruneAll: async (at: number) => { while (await transact(tx => pruneOrphans(tx, at, 2)) > 0); },
    counts: () => ['JobInputChunk', 'OrphanedBytes'].map(table => foreign.prepare(`SELECT count(*) FROM ${table}`).pluck().get())
  }
}

const read = async (chunks: AsyncIterable<Uint8Array>) => String(Buffer.concat(await Array.fromAsync(chunks)))

t.test('bytes that came before their job are read back, chunk by chunk', async t => {
  const { upload, take, inputs } = await open(t)
  const raw = await upload('i', [Buffer.from('abc'), Buffer.from('de')])
  await take('j', raw)
  t.same(await inputs.find('j'), { ...plain, raw })
  t.same((await Array.fromAsync(inputs.read(raw))).map(String), ['abc', 'de'])
  t.equal(await inputs.find('nobody'), undefined)
})

t.test('an input need not have bytes, and those it has may be none', async t => {
  const { upload, take, inputs, transact, counts } = await open(t)
  await transact(async tx => {
    await insertJob(tx, queuedJob('plain'))
    await insertInput(tx, 'plain', { ...plain, raw: null })
  })
  t.same(await inputs.find('plain'), { ...plain, raw: null })
  const raw = await upload('empty', [])
  await take('j', raw)
  t.same(await read(inputs.read(raw)), '')
  t.same(counts(), [0, 0])
})

t.test('an upload that breaks off is forgotten in its time, not before; the latest chunk counts', async t => {
  const { upload, pruneAll, counts } = await open(t)
  await upload('broken', [Buffer.from('abc')], 100)
  await upload('late', [Buffer.from('a'), Buffer.from('b'), Buffer.from('c')], 100)
  const again = await upload('going on', [Buffer.from('a')], 100)
  t.equal(again.sizeBytes, 1)
  await pruneAll(99)
  t.same(counts(), [5, 3])
  await upload('other', [Buffer.from('a')], 200)
  await pruneAll(100)
  t.same(counts(), [1, 1], 'what came later is kept for longer')
})

t.test('bytes live as long as their job waits or runs, and then go', async t => {
  for (const end of ['dequeued', 'deleted'] as const) {
    await t.test(end, async t => {
      const { upload, take, inputs, transact, pruneAll, counts } = await open(t)
      const raw = await upload('i', [Buffer.from('abc'), Buffer.from('de'), Buffer.from('f')])
      await take('j', raw)
      t.same(counts(), [3, 0], 'a job holds them')
      await pruneAll(1e15)
      t.equal(await read(inputs.read(raw)), 'abcdef')
      await transact(tx => end === 'deleted' ? deleteJob(tx, 'j') : dequeue(tx, 'j'))
      t.same(counts(), [3, 1], 'nobody does')
      await pruneAll(0)
      t.same(counts(), [0, 0])
      await t.rejects(read(inputs.read(raw)), { name: 'InputTorn', message: 'i' })
    })
  }
})

t.test('bytes that were forgotten make no job', async t => {
  const { upload, take, store, pruneAll } = await open(t)
  const raw = await upload('i', [Buffer.from('abc')])
  await pruneAll(100)
  await t.rejects(take('j', raw), { name: 'InputTorn' })
  t.equal((await store.jobs.find('j')).kind, 'absent', 'not even its record')
})

t.test('a reader holds one chunk at a time, and takes no part for the whole', async t => {
  const { upload, inputs, pruneAll } = await open(t)
  const raw = await upload('i', [Buffer.from('abc'), Buffer.from('de')])
  const reading = inputs.read(raw)
  t.equal(String((await reading.next()).value), 'abc')
  await pruneAll(100)
  await t.rejects(reading.next(), { name: 'InputTorn' })
})

t.test('whatever the pieces, the bytes come back', async t => {
  const { upload, inputs } = await open(t)
  await fc.assert(fc.asyncProperty(fc.uuid(), fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 })), async (inputId, pieces) => {
    t.same(Buffer.concat(await Array.fromAsync(inputs.read(await upload(inputId, pieces)))), Buffer.concat(pieces))
  }), { numRuns: 30 })
})
