import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { type Chunk, readResultBytes } from '../../src/store/chunks.ts'

const chunkAt = (startOffset: number): Chunk => ({ startOffset, bytes: Buffer.alloc(10, startOffset) })

/** Finds one chunk of ten bytes, then two at a time, and keeps where it was asked. */
const createFinder = (failAt = Infinity) => {
  const asked: number[] = []
  const find = (offset: number): Promise<Chunk[]> => {
    asked.push(offset)
    if (offset >= failAt) return Promise.reject(new Error('no database'))
    return Promise.resolve(offset === 0 ? [chunkAt(0)] : [chunkAt(offset), chunkAt(offset + 10)])
  }
  return { asked, find }
}

const of = { jobId: 'a', run: 1 }
const readsAhead = true

t.test('a read asks for the next chunks while the first of several is used, and not for more', async t => {
  const { asked, find } = createFinder()
  const bytes = readResultBytes(of, 0, 65, find, { readsAhead })
  const first = await bytes.next()
  await nextTurn()
  t.same(asked, [0], 'one chunk may be all that is wanted')
  const read = [first.value]
  for (const expected of [[0, 10, 30], [0, 10, 30], [0, 10, 30, 50], [0, 10, 30, 50], [0, 10, 30, 50]]) {
    read.push((await bytes.next()).value)
    await nextTurn()
    t.same(asked, expected)
  }
  read.push((await bytes.next()).value)
  t.ok((await bytes.next()).done)
  t.same(asked, [0, 10, 30, 50], 'nothing is read beyond the end')
  t.same(read, [0, 10, 20, 30, 40, 50, 60].map(at => Buffer.alloc(at === 60 ? 5 : 10, at)))
})

t.test('a read that does not read ahead asks when it needs more', async t => {
  const { asked, find } = createFinder()
  const bytes = readResultBytes(of, 0, 50, find)
  for (const expected of [[0], [0, 10], [0, 10], [0, 10, 30]]) {
    await bytes.next()
    await nextTurn()
    t.same(asked, expected)
  }
})

t.test('a read ahead that fails ends the read where its bytes would begin, and harms no reader that stops', async t => {
  const read = async (count: number) => {
    const bytes = readResultBytes(of, 0, 50, createFinder(30).find, { readsAhead })
    for (let each = 0; each < count; each++) await bytes.next()
    return bytes
  }
  const stopped = await read(2)
  t.ok((await stopped.return()).done)
  await nextTurn()
  await t.rejects((await read(3)).next(), { message: 'no database' })
})
