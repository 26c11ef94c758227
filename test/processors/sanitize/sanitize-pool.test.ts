import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t, { type Test } from 'tap'
import { ProcessorError } from '../../../src/processors/registry.ts'
import { createSanitizePool, SanitizeOverloaded, type SanitizePoolNeeds } from '../../../src/processors/sanitize/sanitize-pool.ts'

const sample = new URL('../sample-sanitize-thread.ts', import.meta.url)

const open = (t: Test, needs: Partial<SanitizePoolNeeds> = {}) => {
  const pool = createSanitizePool({ threads: 1, waitingMax: 10, timeoutMs: 60_000, entry: sample, ...needs })
  t.teardown(() => pool.close())
  return pool
}

const plain = (content: string) => ({ content, contentType: 'text/plain' as const })
const crash = { name: 'ProcessorError', code: 'PROCESSOR_CRASHED', message: 'The processor stopped unexpectedly.', retryable: true }

t.test('the real thread', async t => {
  const { sanitize, close } = createSanitizePool({ threads: 2, waitingMax: 10, timeoutMs: 60_000 })
  t.teardown(close)
  const [html, text] = await Promise.all([
    sanitize({ content: '<p onclick=x>é<script>x</script></p>', contentType: 'text/html' }),
    sanitize({ content: 'ﬁ\u200B', contentType: 'text/plain', options: { normalization: 'NFKC' } })
  ])
  t.strictSame(html, { sanitized: '<p>é</p>', contentType: 'text/html', removed: { attribute: 1, element: 1 } })
  t.strictSame(text, { sanitized: 'fi', contentType: 'text/plain', removed: { invisible: 1, normalized: 1 } })
  const error: unknown = await sanitize({ content: '{', contentType: 'application/json' }).catch((error: unknown) => error)
  t.ok(error instanceof ProcessorError)
  t.match(error, { code: 'INVALID_JSON', message: 'The content is not valid JSON.', retryable: false })
  t.equal((await sanitize(plain('x'.repeat(1024 * 1024)))).sanitized.length, 1024 * 1024)
})

t.test('a content that takes long does not hold the event loop', async t => {
  const { sanitize } = open(t)
  const stop = new AbortController()
  const running = sanitize(plain('spin'), stop.signal)
  await new Promise(resolve => { setImmediate(resolve) })
  stop.abort(new Error('enough'))
  await t.rejects(running, { message: 'enough' })
})

t.test('no more wait than may', async t => {
  const { sanitize } = open(t, { threads: 2, waitingMax: 1 })
  const stop = new AbortController()
  const reason = new Error('enough')
  const full = [0, 1, 2].map(() => sanitize(plain('spin'), stop.signal))
  const error: unknown = await sanitize(plain('x')).catch((error: unknown) => error)
  t.ok(error instanceof SanitizeOverloaded)
  const ends = full.map(run => t.rejects(run, reason))
  stop.abort(reason)
  await Promise.all(ends)
  const again = [0, 1, 2].map(() => sanitize(plain('x')))
  for (const { sanitized } of await Promise.all(again)) t.equal(sanitized, 'x', 'there is room again')
})

t.test('too long a run ends its thread, and whoever waited too long leaves', async t => {
  const { sanitize } = open(t, { timeoutMs: 3000 })
  const [spinning, waiting] = [sanitize(plain('spin')), sanitize(plain('spin'))]
  const startedAt = performance.now()
  const errors: unknown[] = await Promise.all([spinning, waiting].map(run => run.catch((error: unknown) => error)))
  for (const error of errors) t.ok(error instanceof SanitizeOverloaded)
  t.match(errors[0], { message: 'Sanitizing took more than 3000 ms.' })
  t.ok(performance.now() - startedAt < 5900, 'waiting counts')
  t.equal((await sanitize(plain('x'))).sanitized, 'x', 'the next one finds a thread')
})

t.test('who gives up is not sanitized for', async t => {
  const { sanitize } = open(t)
  const reason = new Error('gone')
  await t.rejects(sanitize(plain('x'), AbortSignal.abort(reason)), reason)
  const [first, second] = [new AbortController(), new AbortController()]
  const running = t.rejects(sanitize(plain('spin'), first.signal), reason)
  const waiting = t.rejects(sanitize(plain('spin'), second.signal), reason)
  const last = sanitize(plain('x'))
  second.abort(reason)
  await waiting
  first.abort(reason)
  await running
  t.equal((await last).sanitized, 'x')
})

for (const content of ['exit', 'throw', 'die']) {
  t.test(`a thread in which a content makes it ${content} is a retryable failure without a word of the content`, async t => {
    const { sanitize } = open(t)
    const secret = content === 'exit' ? '' : randomUUID()
    const crashing = sanitize(plain(content + secret)).catch((error: unknown) => error)
    const following = sanitize(plain('x'))
    const error = await crashing
    t.ok(error instanceof ProcessorError)
    t.match(error, crash)
    if (secret !== '') t.notMatch(JSON.stringify([error, (error as Error).message, (error as Error).cause]), secret)
    t.equal((await following).sanitized, 'x', 'the one that waited is sanitized')
  })
}

t.test('a thread that dies when it has nothing to do is replaced', async t => {
  const { sanitize } = open(t)
  const replaced = new Promise<void>(resolve => {
    let started = 0
    const onStart = () => { if (++started === 2) resolve() }
    subscribe('worker_threads', onStart)
    t.teardown(() => unsubscribe('worker_threads', onStart))
  })
  // An idle thread keeps no process alive, and here nothing else does.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  t.equal((await sanitize(plain('last words'))).sanitized, 'last words')
  await replaced
  t.equal((await sanitize(plain('x'))).sanitized, 'x')
})

t.test('threads start with the first content, and closing ends them', async t => {
  let started = 0
  const onStart = () => { started++ }
  subscribe('worker_threads', onStart)
  t.teardown(() => unsubscribe('worker_threads', onStart))
  const unused = open(t)
  await unused.close()
  await t.rejects(unused.sanitize(plain('x')), crash)
  const pool = open(t)
  t.equal(started, 0)
  t.equal((await pool.sanitize(plain('x'))).sanitized, 'x')
  t.equal((await pool.sanitize(plain('y'))).sanitized, 'y')
  t.equal(started, 1)
  const running = t.rejects(pool.sanitize(plain('spin')), crash)
  const waiting = t.rejects(pool.sanitize(plain('x')), crash)
  await pool.close()
  await Promise.all([running, waiting])
  await t.rejects(pool.sanitize(plain('x')), crash)
})
