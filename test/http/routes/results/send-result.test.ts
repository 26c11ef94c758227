import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
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

t.test('the stream carries every chunk, in order', async t => {
  const { seen, chunks } = createChunks(20)
  const bytes = await buffer(await openChunkStream(chunks))
  t.same(bytes, Buffer.concat(Array.from({ length: 20 }, (_, index) => Buffer.alloc(1000, index))))
  t.equal(seen.ended, true)
  t.equal((await buffer(await openChunkStream(createChunks(0).chunks))).length, 0)
})

t.test('a read that fails before the first chunk opens no stream', async t => {
  await t.rejects(openChunkStream(createChunks(5, 0).chunks), { message: 'torn' })
})

t.test('a read that fails later destroys the stream with that error', async t => {
  const { seen, chunks } = createChunks(5, 3)
  await t.rejects(buffer(await openChunkStream(chunks)), { message: 'torn' })
  t.equal(seen.ended, true)
})

t.test('a client that stops reading holds one chunk; the second is not read', async t => {
  const { seen, chunks } = createChunks(20)
  const taken: Array<() => void> = []
  const slow = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => { taken.push(done) } })
  const stream = (await openChunkStream(chunks)).pipe(slow)
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
  const stream = await openChunkStream(chunks)
  stream.destroy()
  await until(() => seen.ended, 'the end of the read')
  t.equal(seen.read, 0)
  t.ok(stream instanceof Readable)
})
