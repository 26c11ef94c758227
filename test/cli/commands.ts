import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import { token } from '../helpers/tokens.ts'

export type Ended = { code: number | null, out: string, err: string }

const main = resolve('src/cli/main.ts')

const environment = (url: string) => ({
  PATH: process.env.PATH,
  JOB_STATUS_URL: url,
  JOB_STATUS_TOKEN: token({ scope: 'jobs:read jobs:write jobs:work', expiresIn: 3_600_000 })
})

export type Run = (...args: string[]) => Promise<Ended>

/** Runs the command line in processes of their own, with a token of every scope unless `env` has another. */
export const commandLine = (url: string, { env = {}, cwd = process.cwd(), input = '' }: {
  env?: Record<string, string>, cwd?: string, input?: string
} = {}): Run => async (...args) => {
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { ...environment(url), ...env }
  })
  child.stdin.end(input)
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]) as [string, string, [number | null]]
  return { code, out, err }
}

/** Runs the command line on a terminal, as `script` makes one. Resolves with all that it shows. */
export const terminal = (url: string) => async (env: Record<string, string>, ...args: string[]): Promise<string> => {
  const command = [process.execPath, main, ...args].map(word => `'${word}'`).join(' ')
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...environment(url), TERM: 'xterm', ...env }
  })
  return await text(child.stdout)
}

/** Runs the command line on a terminal that a user types on; the end is shown as `exit CODE`. */
export const interactive = (url: string, ...args: string[]): { shown: () => string, type: (text: string) => void } => {
  const command = [process.execPath, main, ...args].map(word => `'${word}'`).join(' ')
  const child = spawn('script', ['-qc', `trap : INT; ${command}; echo exit $?`, '/dev/null'], {
    env: { ...environment(url), TERM: 'xterm' }
  })
  let text = ''
  child.stdout.on('data', chunk => { text += String(chunk) })
  return { shown: () => text, type: keys => { child.stdin.write(keys) } }
}

/** Runs a command that does not end by itself, until the end of the test; `lines`: what it has printed. */
export const follow = (t: Test, url: string, ...args: string[]): { lines: string[] } => {
  const child = spawn(process.execPath, [main, ...args], { env: environment(url), stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', line => { lines.push(line) })
  return { lines }
}
