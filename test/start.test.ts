import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync
} from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { secret } from './helpers/tokens.ts'
import { until } from './helpers/until.ts'

const folder = 'data/compile-cache'

// What Node itself says at the end, after "cache:".
const report = `data:text/javascript,${encodeURIComponent(
  'import { getCompileCacheDir } from "node:module"; process.on("exit", () => console.error("cache:", getCompileCacheDir()))'
)}`

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: { start: string } }
const [, , ...startArgs] = scripts.start.split(' ')
const startFile = resolve(startArgs.pop() ?? '')

/** Runs what `npm start` runs in a folder, until it is ready. `args`: more arguments for Node. */
const start = async (t: Test, cwd: string, env: Record<string, string> = {}, args: readonly string[] = []) => {
  const { NODE_COMPILE_CACHE: _, ...environment } = process.env
  const child = spawn(process.execPath, [...startArgs, ...args, '--import', report, startFile], {
    cwd,
    env: { ...environment, PORT: '0', HOST: '127.0.0.1', JWT_SECRET: secret, NODE_ENV: 'production', WORKERS: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let [output, errors] = ['', '']
  child.stdout.on('data', data => { output += String(data) })
  child.stderr.on('data', data => { errors += String(data) })
  const exit = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
  })
  await until(() => output.includes('"msg":"ready"') || child.exitCode !== null, 'the start', 60_000)
  return {
    output: () => output,
    kill: async () => {
      child.kill('SIGKILL')
      await exit
    },
    /** Ends it; returns the folder in which it kept compiled code. */
    stop: async () => {
      child.kill('SIGTERM')
      t.same(await exit, [0, null], 'it started, and ended well')
      const [, used = ''] = /cache: (.*)/.exec(errors) ?? []
      return used === 'undefined' ? null : used
    }
  }
}

t.test('keeps compiled code in a folder of its user alone, even if it is killed, and uses it', async t => {
  const cwd = t.testdir()
  const first = await start(t, cwd)
  const isKept = () => readdirSync(join(cwd, folder), { recursive: true, withFileTypes: true }).some(each => each.isFile())
  await until(isKept, 'the code to be written')
  await first.kill()
  t.equal(statSync(join(cwd, folder)).mode & 0o777, 0o700)
  t.ok((await (await start(t, cwd)).stop())?.startsWith(join(cwd, folder)), 'the next start uses it')
})

t.test('runs no code from a folder that others could write to', async t => {
  const others = {
    'is open to its group': (path: string) => {
      mkdirSync(path)
      chmodSync(path, 0o770)
    },
    'is a link to another place': (path: string) => {
      mkdirSync(`${path}-elsewhere`, { mode: 0o700 })
      symlinkSync(`${path}-elsewhere`, path)
    },
    ...process.getuid?.() === 0
      ? {
          'belongs to someone else': (path: string) => {
            mkdirSync(path, { mode: 0o700 })
            chownSync(path, 65534, 65534)
          }
        }
      : {}
  }
  const cwd = t.testdir({ data: {} })
  const path = join(cwd, folder)
  for (const [what, make] of Object.entries(others)) {
    make(path)
    t.equal(await (await start(t, cwd)).stop(), null, `a folder that ${what}`)
    t.same(readdirSync(path), [], 'and nothing is written there')
    rmSync(path, { recursive: true })
  }
})

t.test('keeps it in the folder that NODE_COMPILE_CACHE names, and starts where there can be none', async t => {
  const cwd = t.testdir({ data: 'a file' })
  const database = { DATABASE_URL: `sqlite:${join(cwd, 'jobs.db')}` }
  t.equal(await (await start(t, cwd, database)).stop(), null, 'there can be no folder in a file')
  const chosen = join(cwd, 'chosen')
  t.ok((await (await start(t, cwd, { ...database, NODE_COMPILE_CACHE: chosen })).stop())?.startsWith(chosen))
  t.notOk(existsSync(join(cwd, folder)))
})

t.test('an idle process frees the memory that only its start has needed', async t => {
  const { output } = await start(t, t.testdir(), {}, ['--trace-gc'])
  // V8 also says why; by itself it gives other reasons.
  const collected = /Mark-Compact \(reduce\).* GC in old space requested/
  t.ok(await until(() => collected.test(output()), 'the collection'))
})
