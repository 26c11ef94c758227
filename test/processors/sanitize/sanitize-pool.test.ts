import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { schedule } from '../../../src/clocks.ts'
import { ServiceFailure } from '../../../src/errors.ts'
import type { SanitizeInput } from '../../../src/job/sanitize-input.ts'
import { createSanitizePool, type SanitizePoolNeeds } from '../../../src/processors/sanitize/sanitize-pool.ts'
import { until } from '../../helpers/until.ts'

const sample = new URL('./sample-thread.ts', import.meta.url)

const open = (t: Test, needs: Partial<SanitizePoolNeeds> = {}) => {
  const pool = createSanitizePool({ threads: 1, waitingMax: 10, timeoutMs: 60_000, schedule, entry: sample, ...needs })
  t.teardown(() => pool.close())
  return {
    ...pool, sanitize: (input: SanitizeInput, signal = new AbortController().signal) => pool.sanitizeNow(input, signal)
  }
}

const plain = (content: string) => ({ content, contentType: 'text/plain' as const })
const crash = {
  name: 'ServiceFailure',
  code: 'INTERNAL',
  message: 'The content could not be sanitized; the log has the reason.',
  cause: {
    name: 'ProcessorError', code: 'PROCESSOR_CRASHED', message: 'The processor stopped unexpectedly.', retryable: true
  }
}
const overload = { name: 'ServiceFailure', code: 'OVERLOADED', facts: { retryAfterSeconds: 1 } }

t.test('sanitizes in the thread of the service, and names the rule that a content breaks', async t => {
  const { sanitize } = open(t, {
    threads: 2, entry: new URL('../../../src/processors/threads/sanitize-thread.ts', import.meta.url)
  })
  const [html, text] = await Promise.all([
    sanitize({ content: '<p onclick=x>é<script>x</script></p>', contentType: 'text/html' }),
    sanitize({ content: 'ﬁ\u200B', contentType: 'text/plain', options: { normalization: 'NFKC' } })
  ])
  t.strictSame(html, { sanitized: '<p>é</p>', contentType: 'text/html', removed: { attribute: 1, element: 1 } })
  t.strictSame(text, { sanitized: 'fi', contentType: 'text/plain', removed: { invisible: 1, normalized: 1 } })
  const error: unknown = await sanitize({
    content: '{', contentType: 'application/json'
  }).catch((error: unknown) => error)
  t.ok(error instanceof ServiceFailure)
  const message = 'The content is not valid JSON.'
  t.match(error, {
    code: 'VALIDATION_FAILED', message, facts: { errors: [{ field: 'content', rule: 'json', message }] }
  })
  t.equal((await sanitize(plain('x'.repeat(1024 * 1024)))).sanitized.length, 1024 * 1024)
})

t.test('a content that takes long does not block the event loop', async t => {
  const { sanitize } = open(t)
  const stop = new AbortController()
  const running = sanitize(plain('spin'), stop.signal)
  await new Promise(resolve => { setImmediate(resolve) })
  stop.abort(new Error('enough'))
  await t.rejects(running, { message: 'enough' })
})

t.test('rejects a content when the queue for a thread is full', async t => {
  const { sanitize } = open(t, { threads: 2, waitingMax: 1 })
  const stop = new AbortController()
  const reason = new Error('enough')
  const full = [0, 1, 2].map(() => sanitize(plain('spin'), stop.signal))
  await t.rejects(sanitize(plain('x')), { ...overload, cause: { message: '1 contents wait for a thread' } })
  const ends = full.map(run => t.rejects(run, reason))
  stop.abort(reason)
  await Promise.all(ends)
  const again = [0, 1, 2].map(() => sanitize(plain('x')))
  for (const { sanitized } of await Promise.all(again)) t.equal(sanitized, 'x', 'there is room again')
})

t.test('a time-out ends the thread that works on the content, and counts the wait for it', async t => {
  const { sanitize } = open(t, { timeoutMs: 3000 })
  const [spinning, waiting] = [sanitize(plain('spin')), sanitize(plain('spin'))]
  let ended = 0
  const ends = [spinning, waiting].map(run => run.catch((error: unknown) => error).finally(() => { ended++ }))
  // Timers of one length fire in the order in which they were set: this one after those of both calls.
  await delay(3000)
  await nextTurn()
  t.equal(ended, 2, 'the time in the queue counts')
  const errors: unknown[] = await Promise.all(ends)
  for (const error of errors) t.match(error, { ...overload, cause: { message: 'sanitizing took more than 3000 ms' } })
  // The thread that takes the place of that one may need longer than the time-out to start.
  const next = await until(() => sanitize(plain('x')).catch(() => undefined), 'a content that is sanitized')
  t.equal(next.sanitized, 'x', 'the next one finds a thread')
})

t.test('an aborted signal ends the call, whether its content waits or is being sanitized', async t => {
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
  t.test(`a thread in which a content makes it ${content} is INTERNAL without a word of the content`, async t => {
    const { sanitize } = open(t)
    const secret = content === 'exit' ? '' : randomUUID()
    const crashing = sanitize(plain(content + secret)).catch((error: unknown) => error)
    const following = sanitize(plain('x'))
    const error = await crashing
    t.ok(error instanceof ServiceFailure)
    t.match(error, crash)
    const { message, cause } = error as ServiceFailure & { cause: Error }
    if (secret !== '') t.notMatch(JSON.stringify([error, message, cause, cause.message, cause.cause]), secret)
    t.equal((await following).sanitized, 'x', 'the content that waited is sanitized')
  })
}

t.test('a thread that dies while idle is replaced', async t => {
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
