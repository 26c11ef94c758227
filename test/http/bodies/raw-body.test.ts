import { PassThrough, Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { chunksOf } from '../../../src/http/bodies/raw-body.ts'
import { storedChunkBytes } from '../../../src/job/chunks.ts'
import { until } from '../../helpers/until.ts'

const pieceBytes = 64 * 1024

t.test('passes all that has arrived at once, whole chunks where there are some', async t => {
  const body = new PassThrough({ highWaterMark: pieceBytes })
  const chunks = chunksOf(body)
  const sizes: number[] = []
  const take = async (): Promise<void> => { sizes.push((await chunks.next()).value?.byteLength ?? 0) }
  body.write(Buffer.alloc(10))
  await take()
  for (let piece = 0; piece < 9; piece++) body.write(Buffer.alloc(pieceBytes))
  await until(() => body.writableLength + body.readableLength === 0, 'the pieces')
  await take()
  body.end()
  await take()
  t.same(sizes, [10, 2 * storedChunkBytes - 10, 10 + pieceBytes])
  t.same(await chunks.next(), { value: undefined, done: true })
})

t.test('reads about a megabyte ahead of its reader, and leaves the rest to the client', async t => {
  let given = 0
  const endless = new Readable({
    highWaterMark: pieceBytes,
    read () {
      given += pieceBytes
      setImmediate(() => { this.push(Buffer.alloc(pieceBytes)) })
    }
  })
  const chunks = chunksOf(endless)
  await chunks.next()
  await until(() => endless.isPaused(), 'the pause')
  for (let turn = 0; turn < 20; turn++) await nextTurn()
  t.ok(given >= 1024 * 1024 && given < 1024 * 1024 + 5 * pieceBytes, `${given} bytes`)
  await chunks.next()
  await until(() => given > 1024 * 1024 + 5 * pieceBytes, 'more')
  await chunks.return()
  endless.destroy()
})

t.test('passes every byte in its place, and frees the memory of large pieces', async t => {
  const pieces = Array.from({ length: 50 }, (_, index) => Buffer.allocUnsafeSlow(1 + index * 7919 % (3 * pieceBytes)).fill(index))
  const whole = Buffer.concat(pieces)
  const received: Buffer[] = []
  for await (const bytes of chunksOf(Readable.from(pieces, { objectMode: false }))) {
    received.push(Buffer.from(bytes))
    if (received.length % 3 === 0) await nextTurn()
  }
  t.ok(Buffer.concat(received).equals(whole))
  t.same(pieces.filter(({ byteLength }) => byteLength >= 4096), [])
})

t.test('what arrived before the client went away is passed, then the failure', async t => {
  const body = new PassThrough()
  const chunks = chunksOf(body)
  const first = chunks.next()
  body.write('abc')
  t.equal(String((await first).value), 'abc')
  body.write('def')
  await until(() => body.readableLength === 0, 'the bytes')
  body.destroy(new Error('aborted'))
  t.equal(String((await chunks.next()).value), 'def')
  await t.rejects(chunks.next(), { code: 'VALIDATION_FAILED', cause: { message: 'aborted' } })
})

t.test('a body that ended, or broke, before it is read', async t => {
  t.same(await Array.fromAsync(chunksOf(Readable.from([]))), [])
  const broken = new PassThrough().on('error', () => {})
  broken.destroy(new Error('gone'))
  await nextTurn()
  await t.rejects(chunksOf(broken).next(), { code: 'VALIDATION_FAILED' })
})

t.test('a reader that stops leaves the body usable', async t => {
  const body = new PassThrough()
  const chunks = chunksOf(body)
  body.write('abc')
  await chunks.next()
  await chunks.return()
  t.notOk(body.destroyed)
  body.end('the rest')
  await until(() => body.readableEnded, 'the end of what nobody reads')
})
