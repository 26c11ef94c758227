import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { createThreads } from '../../../src/processors/threads/threads.ts'

type Timer = { work: () => void, ms: number, isCancelled: boolean }

/** Threads whose timers the test fires, and every thread that they start. */
const open = (t: Test, threads = 1) => {
  const timers: Timer[] = []
  const workers: Worker[] = []
  const onStart = (message: unknown) => { workers.push((message as { worker: Worker }).worker) }
  subscribe('worker_threads', onStart)
  t.teardown(() => unsubscribe('worker_threads', onStart))
  const { use, close } = createThreads({
    entry: new URL('../sanitize/sample-thread.ts', import.meta.url),
    threads,
    schedule: (work, ms) => {
      const timer = { work, ms, isCancelled: false }
      timers.push(timer)
      return { cancel: () => { timer.isCancelled = true } }
    }
  })
  t.teardown(close)
  const sanitize = (content: string) =>
    use(threads => threads.run({ content, contentType: 'text/plain' }, { name: 'runSanitize' }))
  const due = () => timers.filter(({ isCancelled }) => !isCancelled)
  return { use, close, sanitize, workers, due }
}

const sanitized = (content: string) => ({ kind: 'succeeded', output: { sanitized: content } })

t.test('they start with the first task, all at once, and serve the next ones', async t => {
  const { sanitize, workers } = open(t, 2)
  t.equal(workers.length, 0)
  t.match(await sanitize('x'), sanitized('x'))
  t.match(await sanitize('y'), sanitized('y'))
  t.equal(workers.length, 2)
})

t.test('they end a minute after the last task, and start again with the next one', async t => {
  const { sanitize, use, workers, due } = open(t)
  await Promise.all([sanitize('x'), sanitize('y')])
  t.match(due(), [{ ms: 60_000 }], 'one timer, whatever the number of tasks')
  await use(async () => { t.same(due(), [], 'a task stops it') })
  const [timer] = due()
  t.equal(due().length, 1)
  const ended = once(workers[0] as Worker, 'exit')
  timer?.work()
  await ended
  t.equal(workers.length, 1)
  t.match(await sanitize('z'), sanitized('z'))
  t.equal(workers.length, 2)
})

t.test('a task that begins while they end gets new ones', async t => {
  const { sanitize, due } = open(t)
  await sanitize('x')
  due()[0]?.work()
  t.match(await sanitize('y'), sanitized('y'))
})

t.test('once closed they are gone, and no timer is left', async t => {
  const { sanitize, close, workers, due } = open(t)
  await sanitize('x')
  const ended = once(workers[0] as Worker, 'exit')
  await close()
  await ended
  t.same(due(), [])
  await t.rejects(sanitize('y'), { name: 'ProcessorError', code: 'PROCESSOR_CRASHED', retryable: true })
  t.equal(workers.length, 1)
})
