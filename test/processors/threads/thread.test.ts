import t, { type Test } from 'tap'
import { schedule } from '../../../src/clocks.ts'
import type { Processor } from '../../../src/processors/processor.ts'
import { processors } from '../../../src/processors/registry.ts'
import { createProcessorPool } from '../../../src/processors/threads/pool.ts'
import { openForeign, openStore } from '../../store/open.ts'
import { processors as sample } from './sample-registry.ts'

const chunkBytes = 256 * 1024
const access = { tenant: 'a', allTenants: false }

/** A database with inputs in chunks, and the pool that reads them. */
const open = async (t: Test, processors: ReadonlyMap<string, Processor>) => {
  const { path: databasePath } = await openStore(t)
  const database = openForeign(t, databasePath)
  const insert = database.prepare('INSERT INTO JobInputChunk (inputId, startOffset, bytes) VALUES (?, ?, ?)')
  const pool = createProcessorPool({ databaseUrl: `sqlite:${databasePath}`, threads: 1, schedule, processors })
  t.teardown(() => pool.close())
  const run = async (type: string, input: unknown, rawInput: {
    inputId: string, sizeBytes: number
  } | null, onChunk = () => {}) => {
    const chunks: Uint8Array[] = []
    const output = await pool.run({ type, input: JSON.stringify(input), rawInput, access }, {
      onChunk: bytes => {
        chunks.push(bytes)
        onChunk()
      }
    })
    return { ...output, bytes: Buffer.concat(chunks) }
  }
  return {
    database,
    store: (inputId: string, content: string | Uint8Array, step = chunkBytes) => {
      const bytes = Buffer.from(content)
      for (let at = 0; at < bytes.length; at += step) insert.run(inputId, at, bytes.subarray(at, at + step))
      return { inputId, sizeBytes: bytes.length }
    },
    run
  }
}

t.test('a processor reads the stored bytes in order, chunk by chunk, and from the start each time', async t => {
  const { store, run } = await open(t, sample)
  const bytes = Buffer.from(Array.from({ length: 3 * chunkBytes + 5 }, (_, at) => at % 251))
  store('other', 'x'.repeat(10))
  const stored = store('one', bytes)
  const output = await run('raw', {}, stored)
  t.ok(output.bytes.equals(bytes))
  t.equal(output.message, `${stored.sizeBytes} bytes in 4`)
  t.ok((await run('rawTwice', {}, stored)).bytes.equals(Buffer.concat([bytes.subarray(0, chunkBytes), bytes])))
  t.match(await run('raw', {}, { inputId: 'empty', sizeBytes: 0 }), { message: '0 bytes in 0' })
  t.match(await run('raw', {}, null), { message: 'none' })
})

t.test('input with raw bytes is checked by rawInputSchema, and rejected if there is none', async t => {
  const { store, run } = await open(t, sample)
  const stored = store('one', 'x')
  t.match(await run('raw', { name: 'x' }, stored), { message: '1 bytes in 1' })
  await t.rejects(run('raw', { sizes: [1] }, stored), {
    code: 'INVALID_INPUT', details: [{ field: '', rule: 'additionalProperties' }]
  })
  await t.rejects(run('raw', { name: 'x' }, null), {
    code: 'INVALID_INPUT', message: 'The input does not fit the type raw.'
  })
  await t.rejects(run('pieces', { sizes: [1] }, stored), {
    code: 'INVALID_INPUT', retryable: false, message: 'The type pieces takes its input as JSON only.'
  })
})

t.test('missing or changed chunks are a retryable failure, never a shorter input', async t => {
  const { database, store, run } = await open(t, sample)
  const crash = { name: 'ProcessorError', code: 'PROCESSOR_CRASHED', retryable: true }
  const content = 'x'.repeat(100)
  const { sizeBytes } = store('gap', content, 40)
  database.exec("DELETE FROM JobInputChunk WHERE inputId = 'gap' AND startOffset = 40")
  store('short', content.slice(0, 80), 40)
  store('long', content + 'x', 40)
  for (const inputId of ['gap', 'short', 'long', 'gone']) {
    await t.rejects(run('raw', {}, { inputId, sizeBytes }), crash, inputId)
  }
  const stored = store('erased', 'x'.repeat(3 * chunkBytes))
  await t.rejects(run('raw', {}, stored, () => {
    database.exec("DELETE FROM JobInputChunk WHERE inputId = 'erased'")
  }), crash, 'erased meanwhile')
})

t.test('sanitizes raw input with the processor of the service', async t => {
  const { store, run } = await open(t, processors)
  const text = '\uFEFF' + 'Zürich e\u0301 \u200Bfree 漢字 👩\u200D👩\r\n'.repeat(20_000)
  const plain = await run('sanitize', { contentType: 'text/plain' }, store('text', text))
  t.equal(plain.bytes.toString(), 'Zürich é free 漢字 👩\u200D👩\n'.repeat(20_000))
  t.match(plain, {
    contentType: 'text/plain; charset=utf-8',
    fileName: 'sanitized.txt',
    message: 'removed 20001 invisible, 1 normalized',
    counts: { invisible: 20_001, normalized: 1 }
  })
  const lines = await run('sanitize', {
    contentType: 'application/x-ndjson',
    options: {
      normalization: 'NFKC'
    }
  }, store('lines', '{"a":"ﬁ\u202E"}\n\n[1.0]'))
  t.equal(lines.bytes.toString(), '{"a":"fi"}\n\n[1.0]')
  t.match(lines, {
    contentType: 'application/x-ndjson; charset=utf-8', fileName: 'sanitized.ndjson', counts: { bidi: 1, normalized: 1 }
  })
  const html = await run('sanitize', { contentType: 'text/html' }, store('html', '<p onclick=x>é</p>'))
  t.equal(html.bytes.toString(), '<p>é</p>')
  t.match(html, { contentType: 'text/html; charset=utf-8', fileName: 'sanitized.html', counts: { attribute: 1 } })
  await t.rejects(run('sanitize', { contentType: 'application/x-ndjson' }, store('broken', '{}\n{')), {
    code: 'INVALID_JSON', details: { line: 2 }
  })
  await t.rejects(run('sanitize', { contentType: 'text/plain' }, store('latin', Buffer.from([0x5A, 0xFC]))), {
    code: 'INVALID_INPUT'
  })
  await t.rejects(run('sanitize', { contentType: 'text/html' }, { inputId: 'nowhere', sizeBytes: 5 * 1024 * 1024 }), {
    code: 'INPUT_TOO_LARGE'
  })
  await t.rejects(run('sanitize', { contentType: 'application/json' }, store('json', '{}')), { code: 'INVALID_INPUT' })
  await t.rejects(run('sanitize', { contentType: 'text/plain', content: 'x' }, store('both', 'x')), {
    code: 'INVALID_INPUT'
  })
})
