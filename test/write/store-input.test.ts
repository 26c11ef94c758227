import { createHash } from 'node:crypto'
import t from 'tap'
import { pruneOrphans } from '../../src/store/tx/retention.ts'
import { alice, openCommands } from './commands.ts'

async function * stream (...pieces: string[]) {
  for (const piece of pieces) yield Buffer.from(piece)
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('base64')

t.test('stores bytes as they arrive, with their hash', async t => {
  const { storeInput, inputs, count } = await openCommands(t)
  const stored = await storeInput(stream('ab', 'c'.repeat(300_000), 'd'), 'text/plain', 0)
  const text = `ab${'c'.repeat(300_000)}d`
  t.match(stored, { sizeBytes: 300_003, contentType: 'text/plain', sha256: sha256(text) })
  t.equal(String(Buffer.concat(await Array.fromAsync(inputs.read(stored)))), text)
  t.equal(count('JobInputChunk WHERE length(bytes) > 262144'), 0, 'in chunks of a quarter of a megabyte')
  t.match(await storeInput(stream(), 'text/plain', 0), { sizeBytes: 0, sha256: sha256('') })
})

t.test('rejects too many bytes: announced ones before the first is read, others as they arrive', async t => {
  const { storeInput, count, transact, clock } = await openCommands(t)
  const tooLarge = { name: 'ServiceFailure', code: 'PAYLOAD_TOO_LARGE' }
  let asked = 0
  const endless = (async function * () {
    for (;;) {
      asked++
      yield Buffer.alloc(100_000)
    }
  })()
  await t.rejects(storeInput(endless, 'text/plain', 1_000_001), tooLarge)
  t.equal(asked, 0)
  await t.rejects(storeInput(endless, 'text/plain', 0), tooLarge)
  t.ok(asked < 20, 'and no more is asked for than is needed to know')
  t.not(count('JobInputChunk'), 0)
  t.equal(await transact(tx => pruneOrphans(tx, clock.ms + 3_600_000 - 1, 100)), 0)
  await transact(tx => pruneOrphans(tx, clock.ms + 3_600_000, 100))
  t.same([count('JobInputChunk'), count('OrphanedBytes')], [0, 0], 'what came of it is forgotten in an hour')
  t.equal(
    (await storeInput(stream('a'.repeat(1_000_000)), 'text/plain', 1_000_000)).sizeBytes, 1_000_000, 'so much may be'
  )
})

t.test('bytes of a client that went away are pruned', async t => {
  const { storeInput, count } = await openCommands(t)
  const gone = (async function * () {
    yield Buffer.alloc(300_000)
    throw new Error('aborted')
  })()
  await t.rejects(storeInput(gone, 'text/plain', 0), { message: 'aborted' })
  t.same([count('JobInputChunk'), count('OrphanedBytes')], [1, 1])
})

t.test('a job keeps its bytes; a submission that makes no job does not', async t => {
  const { storeInput, submitJob, claim, count, inputs } = await openCommands(t)
  const submission = { type: 'report', input: {} }
  const first = await storeInput(stream('bytes'), 'text/plain', 0)
  const { jobId } = await submitJob(alice, submission, 'key', first)
  t.equal(count('OrphanedBytes'), 0)

  const again = await storeInput(stream('by', 'tes'), 'text/plain', 0)
  t.match(
    await submitJob(alice, submission, 'key', again), { jobId, replayed: true }, 'the same bytes are the same request'
  )
  t.equal(count(`OrphanedBytes WHERE id = '${again.inputId}'`), 1, 'which need not be kept twice')
  for (const [text, contentType] of [['other', 'text/plain'], ['bytes', 'text/html']] as const) {
    const other = await storeInput(stream(text), contentType, 0)
    await t.rejects(
      submitJob(alice, submission, 'key', other), { code: 'IDEMPOTENCY_KEY_REUSED' }, `${text} as ${contentType}`
    )
    t.equal(count(`OrphanedBytes WHERE id = '${other.inputId}'`), 1)
  }
  await t.rejects(submitJob(alice, submission, 'key'), { code: 'IDEMPOTENCY_KEY_REUSED' }, 'no bytes are not the same')

  const { raw } = await claim()
  t.match(raw, { inputId: first.inputId, sizeBytes: 5, contentType: 'text/plain' })
  t.equal(raw === null ? '' : String(Buffer.concat(await Array.fromAsync(inputs.read(raw)))), 'bytes')
})
