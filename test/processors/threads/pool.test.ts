import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BroadcastChannel } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { schedule } from '../../../src/clocks.ts'
import {
  createProcessorPool, type ProcessorPoolNeeds, type RunCallbacks
} from '../../../src/processors/threads/pool.ts'
import { ProcessorError, type ProgressReport } from '../../../src/processors/processor.ts'
import { openForeign, openStore } from '../../store/open.ts'
import { processors as builtIn } from '../../../src/processors/registry.ts'
import { loadedChannel, processors } from './sample-registry.ts'

const access = { tenant: 'a', allTenants: false }
const task = (type: string, input: unknown = {}) => ({ type, input: JSON.stringify(input), rawInput: null, access })
const ignore = { onChunk: () => {} }

const open = (t: Test, needs: Partial<ProcessorPoolNeeds> = {}) => {
  const pool = createProcessorPool({
    databaseUrl: 'sqlite:none', threads: 1, schedule, processors, ...needs
  })
  t.teardown(() => pool.close())
  return pool
}

const crash = {
  name: 'ProcessorError', code: 'PROCESSOR_CRASHED', message: 'The processor stopped unexpectedly.', retryable: true
}

t.test('reports the output first, then the bytes in order, in pieces of 64 KiB', async t => {
  const pool = open(t)
  const sizes = [1, 100_000, 0, 65_536, 3, 200_000, 7]
  const events: string[] = []
  const chunks: Uint8Array[] = []
  const output = await pool.run(task('pieces', { sizes }), {
    onOutput: ({ contentType, fileName }) => { events.push(`${contentType} ${fileName}`) },
    onChunk: bytes => {
      events.push(String(bytes.byteLength))
      chunks.push(bytes)
    }
  })
  t.strictSame(output, { contentType: 'application/octet-stream', fileName: 'x.bin', message: '7 pieces' })
  t.strictSame(events, ['application/octet-stream x.bin', '65536', '65536', '65536', '65536', '65536', '37867'])
  t.ok(Buffer.concat(chunks).equals(Buffer.concat(sizes.map((size, at) => Buffer.alloc(size, at)))))
  t.match(await pool.run(task('pieces', { sizes: [] }), { onChunk: () => { t.fail('there are no bytes') } }), {
    message: '0 pieces'
  })
})

t.test('counts are read after the last byte', async t => {
  const pool = open(t)
  t.strictSame((await pool.run(task('counted', { sizes: [100_000, 5] }), ignore)).counts, { pieces: 2, bytes: 100_005 })
  t.notOk('counts' in await pool.run(task('pieces', { sizes: [] }), ignore))
})

t.test('a chunk is produced only after the one before was consumed', async t => {
  const pool = open(t)
  const made: bigint[] = []
  const taken: bigint[] = []
  await pool.run(task('timed', { sizes: new Array(5).fill(65_536) }), {
    onProgress: ({ stage }) => { if (stage !== undefined) made.push(BigInt(stage)) },
    onChunk: async () => {
      for (let turn = 0; turn < 50; turn++) await nextTurn()
      taken.push(process.hrtime.bigint())
    }
  })
  t.equal(taken.length, 5)
  for (let at = 1; at < 5; at++) t.ok(made[at]! > taken[at - 1]!, `chunk ${at}`)
})

t.test('progress is throttled, except changes of stage and the last report', async t => {
  const reports: ProgressReport[] = []
  await open(t).run(task('reports'), { ...ignore, onProgress: report => { reports.push(report) } })
  t.strictSame(reports[0], { done: 1, total: 1000 })
  t.strictSame(reports.find(({ stage }) => stage === 'second'), {
    done: 1000, total: 1000, stage: 'second', percent: 50
  })
  t.equal(reports.at(-1)?.message, 'last')
  t.ok(reports.length < 10, `${reports.length} reports of 1002`)
})

for (const type of ['spins', 'waits', 'endless']) {
  t.test(`aborting ends a run that ${type}, and the next run finds a thread`, async t => {
    const pool = open(t)
    const reason = new Error('enough')
    const abort = new AbortController()
    const stop = () => { abort.abort(reason) }
    let calls = 0
    const running = pool.run(task(type), {
      signal: abort.signal, onProgress: stop, onChunk: () => { if (++calls === 3) stop() }
    })
    await t.rejects(running, reason)
    const callsAtEnd = calls
    t.match(await pool.run(task('pieces', { sizes: [1] }), ignore), { message: '1 pieces' })
    t.equal(calls, callsAtEnd, 'no callback after the end')
  })
}

t.test('an abort before the start, or while waiting for a thread, ends the run', async t => {
  const pool = open(t)
  const reason = new Error('enough')
  await t.rejects(pool.run(task('pieces'), { ...ignore, signal: AbortSignal.abort(reason) }), reason)
  const [first, second] = [new AbortController(), new AbortController()]
  const waiting = pool.run(task('waits'), {
    ...ignore, signal: first.signal, onProgress: () => { second.abort(reason) }
  })
  await t.rejects(pool.run(task('pieces', { sizes: [1] }), { ...ignore, signal: second.signal }), reason)
  first.abort(reason)
  await t.rejects(waiting, reason)
})

t.test('a callback that fails ends the run with its error', async t => {
  const pool = open(t)
  const error = new Error('disk full')
  const fail = () => { throw error }
  const failLater = async () => { throw error }
  const failing: RunCallbacks[] = [
    { onChunk: fail }, { onChunk: failLater }, { ...ignore, onOutput: failLater }, { ...ignore, onProgress: failLater }
  ]
  for (const callbacks of failing) {
    await t.rejects(pool.run(task(callbacks.onProgress ? 'spins' : 'endless'), callbacks), error)
  }
  t.match(await pool.run(task('pieces', { sizes: [1] }), ignore), { message: '1 pieces' })
})

t.test('a run settles after the callback under way', async t => {
  const pool = open(t)
  const abort = new AbortController()
  let ended = false
  await t.rejects(pool.run(task('endless'), {
    signal: abort.signal,
    onChunk: async () => {
      abort.abort()
      for (let turn = 0; turn < 50; turn++) await nextTurn()
      ended = true
    }
  }), { name: 'AbortError' })
  t.ok(ended)
})

t.test('a ProcessorError comes through unchanged', async t => {
  await t.rejects(open(t).run(task('fails'), ignore), new ProcessorError('TOO_ODD', 'That is too odd.', {
    details: { limit: 3 }
  }))
})

for (const type of ['throws', 'throwsValue', 'breaks', 'dies', 'exits']) {
  t.test(`a processor that ${type} is a retryable failure that quotes nothing of the input`, async t => {
    const pool = open(t)
    const secret = randomUUID()
    const crashing = pool.run(task(type, { secret }), ignore)
    const following = pool.run(task('pieces', { sizes: [1] }), ignore)
    const error: unknown = await crashing.catch((error: unknown) => error)
    t.ok(error instanceof ProcessorError)
    t.match(error, crash)
    t.notMatch(JSON.stringify([error, (error as Error).cause, (error as Error).message]), secret)
    t.match(await following, { message: '1 pieces' }, 'the run that waited gets a thread')
  })
}

t.test('rejects an unknown type and an input that does not fit its schema', async t => {
  const pool = open(t)
  await t.rejects(pool.run(task('nothing'), ignore), { name: 'ProcessorError', code: 'UNKNOWN_TYPE', retryable: false })
  await t.rejects(pool.run({ ...task('pieces'), input: '{"secret"' }, ignore), {
    code: 'INVALID_INPUT', message: 'The input is not valid JSON.', retryable: false
  })
  await t.rejects(pool.run(task('pieces', { sizes: [1, 'x'], y: 1 }), ignore), {
    code: 'INVALID_INPUT',
    retryable: false,
    details: [{ field: '', rule: 'additionalProperties' }, { field: 'sizes/1', rule: 'type' }]
  })
})

const lastConnection = 'SQLite leaves WAL mode for the last connection only'

t.test('a run reads the records that its submitter may read, and leaves no connection open', async t => {
  const { path: databasePath, database } = await openStore(t)
  const foreign = openForeign(t, databasePath)
  foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, type, tenant) VALUES
    ('1', 'Queued', 'sum', 'a'), ('2', 'Queued', 'sum', 'b'), ('3', 'Queued', 'mean', NULL)`)
  const chunks: Uint8Array[] = []
  await open(t, { databaseUrl: `sqlite:${databasePath}` }).run(task('records'), { onChunk: bytes => { chunks.push(bytes) } })
  t.strictSame(JSON.parse(Buffer.concat(chunks).toString()), {
    access, totals: [2, 1], read: [['sum', 'mean'], ['sum']]
  })
  await database.close()
  t.equal(foreign.pragma('journal_mode = DELETE', { simple: true }), 'delete', lastConnection)
})

t.test('a run that fails while it reads records or raw input leaves no connection open', async t => {
  const { path: databasePath, database } = await openStore(t)
  const foreign = openForeign(t, databasePath)
  foreign.exec(`
    INSERT INTO JobExecutionLog (jobId, status, type, tenant) VALUES ('1', 'Queued', 'sum', 'a');
    INSERT INTO JobInputChunk (inputId, startOffset, bytes) VALUES ('i', 0, zeroblob(3)), ('i', 3, zeroblob(3))`)
  await database.close()
  const pool = open(t, { databaseUrl: `sqlite:${databasePath}` })
  const rawInput = (sizeBytes: number) => ({ inputId: 'i', sizeBytes })
  for (const [name, failing] of [
    ['the processor throws after a page of records', task('recordsThrow')],
    ['the processor throws after a chunk', { ...task('rawThrows'), rawInput: rawInput(6) }],
    ['a chunk is missing', { ...task('raw'), rawInput: rawInput(9) }]
  ] as const) {
    foreign.pragma('journal_mode = WAL')
    await t.rejects(pool.run(failing, ignore), crash, name)
    t.equal(foreign.pragma('journal_mode = DELETE', { simple: true }), 'delete', lastConnection)
  }
})

t.test('a task that is prepared finds a thread with its module, and no second thread starts', async t => {
  let started = 0
  const onStart = () => { started += 1 }
  subscribe('worker_threads', onStart)
  t.teardown(() => unsubscribe('worker_threads', onStart))
  const channel = new BroadcastChannel(loadedChannel)
  t.teardown(() => { channel.close() })
  const pool = open(t)
  const loaded = new Promise(resolve => { channel.onmessage = ({ data }) => { resolve(data) } })
  pool.prepare('pieces', false)
  pool.prepare('counted', false)
  t.match(await loaded, /\?pieces$/)
  t.match(await pool.run(task('pieces', { sizes: [3] }), ignore), { message: '1 pieces' })
  t.equal(started, 1)
})

t.test('what cannot be prepared fails when it is run', async t => {
  for (const [type, isRaw, code] of [['none', false, 'UNKNOWN_TYPE'], ['pieces', true, 'INVALID_INPUT']] as const) {
    const pool = open(t)
    pool.prepare(type, isRaw)
    const rawInput = isRaw ? { inputId: 'x', sizeBytes: 1 } : null
    await t.rejects(pool.run({ ...task(type), rawInput }, ignore), { code })
    t.match(await pool.run(task('pieces', { sizes: [] }), ignore), { message: '0 pieces' })
    await pool.close()
    pool.prepare('pieces', false)
  }
})

t.test('threads run in parallel, and closing ends them', async t => {
  const pool = open(t, { threads: 2 })
  const begun: (() => void)[] = []
  const both = [0, 1].map(at => new Promise<void>(resolve => { begun[at] = resolve }))
  const running = begun.map(resolve => pool.run(task('waits'), { ...ignore, onProgress: resolve }))
  await Promise.all(both)
  const ends = running.map(run => t.rejects(run, crash))
  await pool.close()
  await Promise.all(ends)
})

t.test('runs the sanitize processor of the service', async t => {
  const pool = createProcessorPool({ databaseUrl: 'sqlite:none', threads: 1, schedule, processors: builtIn })
  t.teardown(() => pool.close())
  const chunks: Uint8Array[] = []
  const content = `<p>${'é👩'.repeat(40_000)}</p><script>x</script>`
  const output = await pool.run(task('sanitize', { content, contentType: 'text/html' }), {
    onChunk: bytes => { chunks.push(bytes) }
  })
  t.strictSame(output, {
    contentType: 'text/html; charset=utf-8',
    fileName: 'sanitized.html',
    message: 'removed 1 element',
    counts: { element: 1 }
  })
  t.equal(Buffer.concat(chunks).toString(), `<p>${'é👩'.repeat(40_000)}</p>`)
  t.match(await pool.run(task('sanitize', { content: '', contentType: 'text/plain' }), ignore), {
    message: 'removed nothing', counts: {}
  })
  await t.rejects(pool.run(task('sanitize', { content: 'x', contentType: 'application/json' }), ignore), {
    code: 'INVALID_JSON'
  })
  await t.rejects(pool.run(task('sanitize', { content: 'x', contentType: 'image/png' }), ignore), {
    code: 'INVALID_INPUT'
  })
  await t.rejects(pool.run(task('report', { type: '' }), ignore), {
    code: 'INVALID_INPUT', details: [{ field: 'type', rule: 'minLength' }]
  }, 'a rule that needs a part of Ajv')
})
