import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { finished } from 'node:stream/promises'
import t from 'tap'
import { openChunkStream } from '../../../../src/http/routes/results/send-result.ts'
import { until } from '../../../helpers/until.ts'

const createChunks = (count: number, failAt = Infinity) => {
  const seen = { read: 0, ended: false }
  const read = async function * () {
    try {
      for (; seen.read < count; seen.read++) {
        if (seen.read === failAt) throw new Error('torn')
        yield Buffer.alloc(1000, seen.read)
      }
    } finally {
      seen.ended = true
    }
  }
  return { seen, chunks: read() }
}

// What was written to it has left.
const written = { writableLength: 0 }

t.test('the stream carries every chunk, in order', async t => {
  const { seen, chunks } = createChunks(20)
  const bytes = await buffer(await openChunkStream(chunks, written))
  t.same(bytes, Buffer.concat(Array.from({ length: 20 }, (_, index) => Buffer.alloc(1000, index))))
  t.equal(seen.ended, true)
  t.equal((await buffer(await openChunkStream(createChunks(0).chunks, written))).length, 0)
})

t.test('a read that fails before the first chunk opens no stream', async t => {
  await t.rejects(openChunkStream(createChunks(5, 0).chunks, written), { message: 'torn' })
})

t.test('a read that fails later destroys the stream with that error', async t => {
  const { seen, chunks } = createChunks(5, 3)
  await t.rejects(buffer(await openChunkStream(chunks, written)), { message: 'torn' })
  t.equal(seen.ended, true)
})

t.test('a client that stops reading holds one chunk; the second is not read', async t => {
  const { seen, chunks } = createChunks(20)
  const taken: Array<() => void> = []
  const slow = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => { taken.push(done) } })
  const stream = (await openChunkStream(chunks, slow)).pipe(slow)
  t.teardown(() => { stream.destroy() })
  for (let count = 1; count <= 3; count++) {
    await until(() => taken.length === count, `chunk ${count} at the client`)
    for (let turn = 0; turn < 5; turn++) await new Promise(resolve => { setImmediate(resolve) })
    // The generator waits at the yield of the chunk that the client has.
    t.equal(seen.read, count - 1)
    taken[count - 1]?.()
  }
})

t.test('a client that disconnects ends the read', async t => {
  const { seen, chunks } = createChunks(20)
  const stream = await openChunkStream(chunks, written)
  stream.destroy()
  await until(() => seen.ended, 'the end of the read')
  t.equal(seen.read, 0)
  t.ok(stream instanceof Readable)
})

t.test('the memory of a chunk is freed once it has left, and not before', async t => {
  for (const { highWaterMark, kept } of [{ highWaterMark: 1, kept: 0 }, { highWaterMark: 1e6, kept: 8192 }]) {
    const chunks = [Buffer.alloc(8192, 1), Buffer.alloc(8192, 2)]
    const taken: Array<() => void> = []
    const slow = new Writable({
      highWaterMark,
      write: (chunk: Buffer, _encoding, done) => {
        t.equal(chunk[0], taken.length + 1)
        taken.push(done)
      }
    })
    const stream = await openChunkStream((async function * () { yield * chunks })(), slow)
    stream.pipe(slow)
    await until(() => taken.length === 1, 'the first chunk')
    for (let turn = 0; turn < 5; turn++) await new Promise(resolve => { setImmediate(resolve) })
    t.same(chunks.map(({ byteLength }) => byteLength), [8192, 8192], 'while it is written')
    taken[0]?.()
    await until(() => taken.length === 2, 'the second chunk')
    t.same(chunks.map(({ byteLength }) => byteLength), [kept, 8192])
    taken[1]?.()
    await finished(slow)
  }
})
