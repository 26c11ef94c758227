import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { createUploads } from '../../../src/write/runs/uploads.ts'
import { createResultDigest } from '../../../src/write/runs/result-digest.ts'
import { csv, leaseMs, openCommands } from '../commands.ts'

const chunkBytes = 256 * 1024

const open = async (t: Test) => {
  const commands = await openCommands(t)
  const { runJob, results, clock } = commands
  await commands.submit()
  const claim = await commands.claim()
  return {
    ...commands,
    claim,
    /** `onRead` is called with every piece that is read back. */
    uploads: (onRead: () => void | Promise<void> = () => {}) => createUploads({
      runJob,
      monotonicNow: () => clock.ms,
      read: async function * (...args) {
        for await (const bytes of results.read(...args)) {
          await onRead()
          yield bytes
        }
      }
    })
  }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('base64')

t.test('stores pieces of any size in chunks, and completes with their hash', async t => {
  const { claim, uploads, job, count } = await open(t)
  const bytes = Buffer.alloc(2 * chunkBytes + 3, 'abcdefg')
  const pieces = async function * () {
    for (let at = 0; at < bytes.byteLength; at += 100_001) yield bytes.subarray(at, at + 100_001)
  }
  const { store, complete } = uploads()
  t.same(await store(claim, 0, pieces(), csv), { sizeBytes: bytes.byteLength, cancelRequested: false })
  t.equal(count('JobResultChunk'), 3)
  await complete(claim)
  t.match(await job(claim.jobId), {
    state: 'succeeded', result: { ...csv, sizeBytes: bytes.byteLength, sha256: sha256(bytes), inlineJson: null }
  })
})

t.test('extends the lease while bytes arrive, however slowly', async t => {
  const { claim, uploads, clock, rescueJobs } = await open(t)
  const slow = async function * () {
    for (let piece = 0; piece < 10; piece++) {
      clock.ms += leaseMs / 2
      t.equal(await rescueJobs(), 0)
      yield Buffer.from('x')
    }
  }
  t.match(await uploads().store(claim, 0, slow(), csv), { sizeBytes: 10 })
})

const piecesOf = async function * (bytes: Uint8Array, failAt = Infinity) {
  for (let at = 0; at < bytes.byteLength; at += 50_000) {
    if (at >= failAt) throw new Error('the client went away')
    yield bytes.subarray(at, at + 50_000)
  }
}

t.test('a completion reads back only what another process has stored', async t => {
  const { claim, uploads, job } = await open(t)
  const bytes = Buffer.from(Array.from({ length: 5 * chunkBytes }, (_, index) => index * index % 251))
  let reads = 0
  const [one, another] = [uploads(() => { reads++ }), uploads(() => { reads++ })]
  await t.rejects(one.store(claim, 0, piecesOf(bytes, 2 * chunkBytes), csv), { message: 'the client went away' })
  await one.store(claim, 2 * chunkBytes, piecesOf(bytes.subarray(2 * chunkBytes, 3 * chunkBytes)), csv)
  await t.rejects(one.store(claim, 0, piecesOf(bytes), csv), { name: 'OffsetMismatch', offset: 3 * chunkBytes })
  const wrong = { sha256: sha256(Buffer.from('other')) }
  await t.rejects(one.complete(claim, wrong), { name: 'OffsetMismatch' })
  t.equal(reads, 0)
  await another.store(claim, 3 * chunkBytes, piecesOf(bytes.subarray(3 * chunkBytes)), csv)
  for (const each of [one, another]) {
    const before = reads
    await t.rejects(each.complete(claim, wrong), { name: 'OffsetMismatch' })
    t.ok(reads > before)
  }
  const before = reads
  await another.complete(claim)
  t.equal(reads, before, 'a digest is kept for the next completion')
  t.match(await job(claim.jobId), { result: { sizeBytes: bytes.byteLength, sha256: sha256(bytes) } })
})

t.test('the digest is of what was stored, whatever becomes of an append', async t => {
  const commands = await open(t)
  const { claim, runJob, results, clock, job } = commands
  const bytes = Buffer.alloc(4 * chunkBytes, 'abcdefg')
  let failures = 1
  const { store, complete } = createUploads({
    runJob: {
      ...runJob,
      append: async (...args) => {
        const stored = await runJob.append(...args)
        if (args[1] > 0 && failures-- > 0) throw new Error('the answer was lost')
        return stored
      }
    },
    read: results.read,
    monotonicNow: () => clock.ms
  })
  await t.rejects(store(claim, 0, piecesOf(bytes), csv), { message: 'the answer was lost' })
  await store(claim, 2 * chunkBytes, piecesOf(bytes.subarray(2 * chunkBytes)), csv)
  await complete(claim)
  t.match(await job(claim.jobId), { result: { sizeBytes: bytes.byteLength, sha256: sha256(bytes) } })
})

t.test('stores together what arrives together', async t => {
  const { claim, runJob, results, clock, count } = await open(t)
  const appended: number[] = []
  const { store } = createUploads({
    runJob: {
      ...runJob,
      append: (...args) => {
        appended.push(args[2].byteLength / chunkBytes)
        return runJob.append(...args)
      }
    },
    read: results.read,
    monotonicNow: () => clock.ms
  })
  await store(claim, 0, [Buffer.alloc(6 * chunkBytes + 1)].values() as unknown as AsyncIterable<Uint8Array>, csv)
  t.same(appended, [4, 2, 1 / chunkBytes])
  t.equal(count(`JobResultChunk WHERE length(bytes) = ${chunkBytes}`), 6)
})

t.test('extends the lease while the bytes are read back', async t => {
  const { claim, uploads, clock, rescueJobs, job } = await open(t)
  await uploads().store(claim, 0, [Buffer.alloc(5 * chunkBytes)].values() as unknown as AsyncIterable<Uint8Array>, csv)
  await uploads(async () => {
    clock.ms += leaseMs / 2
    t.equal(await rescueJobs(), 0)
  }).complete(claim)
  t.match(await job(claim.jobId), { state: 'succeeded', result: { sha256: sha256(Buffer.alloc(5 * chunkBytes)) } })
})

t.test('reports a lease that was lost while the bytes were read back as lost', async t => {
  const { claim, uploads, clock, rescueJobs, claimJob, job, count } = await open(t)
  await uploads().store(claim, 0, (async function * () { yield Buffer.alloc(3 * chunkBytes) })(), csv)
  const { complete } = uploads(async () => {
    await rescueJobs('worker')
    clock.ms += 1000
    await claimJob({ types: ['report'], tenant: null }, 'another', leaseMs)
    t.equal(count('JobResultChunk'), 0)
  })
  await t.rejects(complete(claim), { name: 'LeaseLost' })
  t.match(await job(claim.jobId), { state: 'running', attempt: 2 })
})

t.test('rejects a completion if bytes were appended while it read the others', async t => {
  const { claim, uploads, runJob, job } = await open(t)
  await uploads().store(claim, 0, (async function * () { yield Buffer.from('abc') })(), csv)
  const { complete } = uploads(async () => { await runJob.append(claim, 3, Buffer.from('def'), csv) })
  await t.rejects(complete(claim), { name: 'OffsetMismatch', offset: 6 })
  t.match(await job(claim.jobId), { state: 'running' })
})

t.test('rejects a wrong offset before it reads the first byte', async t => {
  const { claim, uploads } = await open(t)
  let asked = false
  const bytes = async function * () {
    asked = true
    yield Buffer.from('x')
  }
  await t.rejects(uploads().store(claim, 5, bytes(), csv), { name: 'OffsetMismatch', offset: 0 })
  await t.rejects(uploads().store({ ...claim, leaseToken: 'guess' }, 0, bytes(), csv), { name: 'LeaseLost' })
  t.equal(asked, false)
})

t.test('puts JSON of at most 16 KiB into the status, unchanged', t => {
  const inlined = (contentType: string, ...pieces: Array<string | Buffer>) => {
    const tally = createResultDigest()
    for (const piece of pieces) tally.add(Buffer.from(piece))
    return tally.facts(contentType).inlineJson
  }
  t.equal(inlined('application/json', '{"a":', '1}'), '{"a":1}')
  t.equal(inlined('Application/JSON; charset=utf-8', ' null\n'), ' null\n')
  t.equal(inlined('application/json', `${'['.repeat(64)}${']'.repeat(64)}`)?.length, 128)
  t.equal(
    inlined('application/json', `${'['.repeat(65)}${']'.repeat(65)}`), null, 'too deep for those who read a status'
  )
  t.equal(inlined('application/json', `"${'x'.repeat(16 * 1024 - 2)}"`)?.length, 16 * 1024)
  for (const [why, ...args] of [
    ['too large', 'application/json', `"${'x'.repeat(8 * 1024)}`, `${'x'.repeat(8 * 1024)}"`],
    ['too large, then small', 'application/json', 'x'.repeat(20_000), '1'],
    ['of another type', 'text/plain', '1'], ['no JSON', 'application/json', '{'], ['nothing', 'application/json'],
    ['nothing but empty', 'application/json', ''], ['not UTF-8', 'application/json', Buffer.from('"\u00ff"', 'latin1')],
    ['too deep in a member named twice', 'application/json', `{"a":${'['.repeat(64)}${']'.repeat(64)},"a":1}`],
    ['with a mark before it', 'application/json', '\ufeff1']
  ] as Array<[string, string, ...Array<string | Buffer>]>) {
    t.equal(inlined(...args), null, why)
  }
  t.end()
})
