import fc from 'fast-check'
import type { Test } from 'tap'
import { appendInputBytes, insertInput } from '../../../src/store/tx/inputs.ts'
import { deleteJob, insertJob } from '../../../src/store/tx/jobs.ts'
import { dequeue } from '../../../src/store/tx/runs/queue.ts'
import { pruneOrphans } from '../../../src/store/tx/retention.ts'
import { queuedJob } from '../jobs.ts'
import type { Conformance, OpenStoreUnderTest } from './store-under-test.ts'

const plain = { input: '{}', access: '{}' }
const contentType = 'text/plain'

const openInputs = async (t: Test, open: OpenStoreUnderTest) => {
  const opened = await open(t)
  const { transact, inputs } = opened.store
  const upload = async (inputId: string, pieces: readonly Uint8Array[], forgetAt = 100) => {
    let sizeBytes = 0
    for (const bytes of pieces) {
      const startOffset = sizeBytes
      await transact(tx => appendInputBytes(tx, inputId, startOffset, bytes, forgetAt))
      sizeBytes += bytes.byteLength
    }
    return { inputId, sizeBytes, contentType }
  }
  return {
    ...opened,
    upload,
    transact,
    inputs,
    /** Makes a job with these bytes. */
    take: (jobId: string, raw: Awaited<ReturnType<typeof upload>>) => transact(async tx => {
      await insertJob(tx, queuedJob(jobId))
      await insertInput(tx, jobId, { ...plain, raw })
    }),
    pruneAll: async (at: number) => { while (await transact(tx => pruneOrphans(tx, at, 2)) > 0); },
    counts: () => Promise.all(['JobInputChunk', 'OrphanedBytes'].map(opened.count))
  }
}

const read = async (chunks: AsyncIterable<Uint8Array>) => String(Buffer.concat(await Array.fromAsync(chunks)))

/** Inputs and their raw bytes. */
export const inputsConformance: Conformance = (t, open) => {
  t.test('reads back bytes that were stored before their job, chunk by chunk', async t => {
    const { upload, take, inputs } = await openInputs(t, open)
    const raw = await upload('i', [Buffer.from('abc'), Buffer.from('de')])
    await take('j', raw)
    t.same(await inputs.find('j'), { ...plain, raw })
    t.same((await Array.fromAsync(inputs.read(raw))).map(String), ['abc', 'de'])
    t.equal(await inputs.find('never-made'), undefined)
  })

  t.test('takes an input without bytes, or with none', async t => {
    const { upload, take, inputs, transact, counts } = await openInputs(t, open)
    await transact(async tx => {
      await insertJob(tx, queuedJob('plain'))
      await insertInput(tx, 'plain', { ...plain, raw: null })
    })
    t.same(await inputs.find('plain'), { ...plain, raw: null })
    const raw = await upload('empty', [])
    await take('j', raw)
    t.same(await read(inputs.read(raw)), '')
    t.same(await counts(), [0, 0])
  })

  t.test('prunes an upload that broke off once it is due; the last chunk sets the time', async t => {
    const { upload, pruneAll, counts } = await openInputs(t, open)
    await upload('broken', [Buffer.from('abc')], 100)
    await upload('late', [Buffer.from('a'), Buffer.from('b'), Buffer.from('c')], 100)
    const again = await upload('going on', [Buffer.from('a')], 100)
    t.equal(again.sizeBytes, 1)
    await pruneAll(99)
    t.same(await counts(), [5, 3])
    await upload('other', [Buffer.from('a')], 200)
    await pruneAll(100)
    t.same(await counts(), [1, 1], 'a later upload is kept longer')
  })

  t.test('keeps bytes as long as the record of their job, also once that has ended', async t => {
    const { upload, take, inputs, transact, pruneAll, counts } = await openInputs(t, open)
    const raw = await upload('i', [Buffer.from('abc'), Buffer.from('de'), Buffer.from('f')])
    await take('j', raw)
    await transact(tx => dequeue(tx, 'j'))
    t.same(await counts(), [3, 0], 'a job holds them')
    await pruneAll(1e15)
    t.equal(await read(inputs.read(raw)), 'abcdef')
    await transact(tx => deleteJob(tx, 'j'))
    t.same(await counts(), [3, 1], 'no job does')
    await pruneAll(0)
    t.same(await counts(), [0, 0])
    await t.rejects(read(inputs.read(raw)), { name: 'InputTorn', message: 'i' })
  })

  t.test('finds a job with its input, its tombstone without, and neither for another program’s row', async t => {
    const { take, upload, store, transact } = await openInputs(t, open)
    await transact(tx => insertJob(tx, queuedJob('theirs')))
    const raw = await upload('i', [Buffer.from('abc')])
    await take('ours', raw)
    const { findWithInput } = store.jobs
    t.match(await findWithInput('ours'), { lookup: { kind: 'job', job: { jobId: 'ours' } }, input: { ...plain, raw } })
    t.match(await findWithInput('theirs'), { lookup: { kind: 'job' }, input: undefined })
    t.match(await findWithInput('never'), { lookup: { kind: 'absent' }, input: undefined })
    await transact(tx => deleteJob(tx, 'ours'))
    t.match(await findWithInput('ours'), { lookup: { kind: 'tombstone' }, input: undefined })
  })

  t.test('rejects a job whose bytes were pruned', async t => {
    const { upload, take, store, pruneAll } = await openInputs(t, open)
    const raw = await upload('i', [Buffer.from('abc')])
    await pruneAll(100)
    await t.rejects(take('j', raw), { name: 'InputTorn' })
    t.equal((await store.jobs.find('j')).kind, 'absent', 'not even its record')
  })

  t.test('reads one chunk at a time, and rejects where the bytes end early', async t => {
    const { upload, inputs, pruneAll } = await openInputs(t, open)
    const raw = await upload('i', [Buffer.from('abc'), Buffer.from('de')])
    const reading = inputs.read(raw)
    t.equal(String((await reading.next()).value), 'abc')
    await pruneAll(100)
    await t.rejects(reading.next(), { name: 'InputTorn' })
  })

  t.test('reads back any bytes, in whatever pieces they were written', async t => {
    const { upload, inputs } = await openInputs(t, open)
    await fc.assert(fc.asyncProperty(fc.uuid(), fc.array(fc.uint8Array({
      minLength: 1, maxLength: 50
    })), async (inputId, pieces) => {
      t.same(Buffer.concat(await Array.fromAsync(inputs.read(await upload(inputId, pieces)))), Buffer.concat(pieces))
    }), { numRuns: 30 })
  })

  t.test('rejects a chunk of an upload that was pruned meanwhile', async t => {
    const { upload, transact, pruneAll } = await openInputs(t, open)
    await upload('i', [Buffer.from('abc')], 1)
    await pruneAll(1)
    await t.rejects(transact(tx => appendInputBytes(tx, 'i', 3, Buffer.from('def'), 1)), { name: 'InputTorn' })
  })
}
