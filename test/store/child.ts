import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

export type Child = {
  process: ChildProcess
  /** The next line of its standard output; undefined at the end. */
  line: () => Promise<string | undefined>
  /** Resolves when it has ended. */
  ended: Promise<{ code: number | null, signal: NodeJS.Signals | null }>
}

/** A program in the folder of this file or below, in a process of its own that does not outlive the test. */
export const spawnChild = (t: Test, program: string, ...args: string[]): Child => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, join(import.meta.dirname, program), ...args],
    { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = once(child, 'exit').then(([code, signal]) => ({
    code: code as number | null, signal: signal as NodeJS.Signals | null
  }))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return {
    process: child,
    line: async () => {
      const next = await lines.next()
      return next.done === true ? undefined : next.value
    },
    ended
  }
}
