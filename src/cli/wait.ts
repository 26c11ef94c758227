import cliProgress from 'cli-progress'
import type { Client, Task } from '../client/client.ts'
import { Exit, exitCodes } from './exit.ts'
import type { OutputOptions } from './output.ts'
import { parseNumber } from './connection.ts'

export type WaitOptions = OutputOptions & { timeout?: string }

// A longer one would be over at once.
const timerMsMax = 2 ** 31 - 1

const createBar = (): { show: (task: Task) => void, stop: () => void } => {
  const bar = new cliProgress.SingleBar({
    format: '{bar} {percentage}%  {status}  {message}',
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
    barsize: 30
  }, cliProgress.Presets.rect)
  let isShown = false
  return {
    show: ({ status, progress: { percent, stage, message } }) => {
      const facts = { status, message: [stage, message].filter(Boolean).join(': ').replace(/\p{Cc}/gu, ' ').slice(0, 60) }
      if (isShown) return bar.update(percent, facts)
      isShown = true
      bar.start(100, percent, facts)
    },
    stop: () => { if (isShown) bar.stop() }
  }
}

/** Waits for the end of a job, with a progress bar where a person watches. Throws the exit of a timeout. */
export const waitForEnd = async (client: Client, jobId: string, { json = false, timeout }: WaitOptions): Promise<Task> => {
  const controller = new AbortController()
  const { signal } = controller
  const timer = timeout === undefined
    ? undefined
    : setTimeout(() => {
      controller.abort(new Exit(exitCodes.timeout, `job-status: ${jobId} did not end within ${timeout} s`))
    }, Math.min(timerMsMax, parseNumber('--timeout', timeout, 0) * 1000))
  const bar = process.stderr.isTTY && !json ? createBar() : null
  // The bar hides the cursor, which a signal alone would not bring back.
  const interrupt = (): void => { controller.abort(new Exit(exitCodes.interrupted)) }
  if (bar !== null) process.once('SIGINT', interrupt)
  try {
    return await client.waitFor(jobId, { signal, ...bar === null ? {} : { onProgress: bar.show } })
  } finally {
    clearTimeout(timer)
    process.off('SIGINT', interrupt)
    bar?.stop()
  }
}
