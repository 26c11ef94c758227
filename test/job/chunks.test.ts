import fc from 'fast-check'
import t from 'tap'
import { countWithin, toChunks, toMultiples } from '../../src/job/chunks.ts'

async function * later (pieces: readonly Uint8Array[]) { yield * pieces }

t.test('splits any pieces into chunks of one size, the last one shorter', async t => {
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array(
    { maxLength: 20 }
  )), fc.integer({ min: 1, max: 12 }), fc.boolean(), async (pieces, size, isAsync) => {
    const whole = Buffer.concat(pieces)
    const chunks = await Array.fromAsync(toChunks(isAsync ? later(pieces) : pieces, size))
    t.same(Buffer.concat(chunks), whole)
    t.same(chunks.map(({ byteLength }) => byteLength), Array.from({
      length: Math.ceil(
        whole.length / size
      )
    }, (_, at) => Math.min(size, whole.length - at * size)))
    t.equal(new Set(chunks.map(({ buffer }) => buffer)).size, chunks.length, 'each in a buffer of its own')
  }), { numRuns: 100 })
})

t.test('reads no more than the chunk needs', async t => {
  let asked = 0
  const endless = (function * () {
    for (;;) {
      asked++
      yield Buffer.alloc(3)
    }
  })()
  const chunks = toChunks(endless, 7)
  t.equal((await chunks.next()).value?.byteLength, 7)
  t.equal(asked, 3)
  await chunks.return(undefined)
  t.same(endless.next(), { value: undefined, done: true }, 'and who stops reading stops the source')
})

t.test('joins any pieces to multiples of one size, the last one shorter', async t => {
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 })), fc.integer({ min: 1, max: 12 }), async (pieces, size) => {
    // As a source does that uses its memory again.
    const memory = new Uint8Array(40)
    const source = async function * () {
      for (const piece of pieces) {
        memory.set(piece)
        yield memory.subarray(0, piece.byteLength)
        memory.fill(255)
      }
    }
    const joined: Buffer[] = []
    for await (const bytes of toMultiples(source(), size, 2 * size)) joined.push(Buffer.from(bytes))
    t.same(Buffer.concat(joined), Buffer.concat(pieces))
    t.ok(joined.slice(0, -1).every(({ byteLength }) => byteLength % size === 0))
    t.ok(joined.every(({ byteLength }) => byteLength > 0 && byteLength <= 2 * size))
  }), { numRuns: 100 })
})

t.test('counts what is together within a bound, and at least one', async t => {
  t.equal(countWithin([], 10), 0)
  t.equal(countWithin([11], 10), 1)
  t.equal(countWithin([11, 1], 10), 1)
  t.equal(countWithin([4, 6], 10), 2)
  t.equal(countWithin([4, 6, 1], 10), 2)
})
