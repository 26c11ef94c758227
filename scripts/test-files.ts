import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { Parser } from 'tap-parser'

/*
 * Runs test files, each in a process of its own. The runner of tap loads two modules into every process, and these into
 * all processes and threads that a test starts, where they follow each file that is loaded: that took half of the CPU
 * of a run. So the files are started here as plain Node programs, and tap reports those that failed.
 */

const withoutAsyncHooks = import.meta.resolve('./without-async-hooks.ts')

const secondsMax = Number(process.env.TAP_TIMEOUT ?? '900')
// A test process reports its timeout itself, unless its event loop is blocked.
const graceMs = 15_000
// One more than there are cores, because tests also wait.
const processesMax = availableParallelism() + 1

// These take longest, the longest first. Begun last, they would run alone at the end.
const slowest = [
  'test/scripts/package.', 'test/scenarios/torture-finds.', 'test/cli/cli.', 'test/main.', 'test/store/postgres.',
  'test/ui/page.', 'test/postgres/fuzz.', 'test/scenarios/', 'test/scripts/', 'test/client/', 'test/security/', 'test/status/',
  'test/store/sqlite', 'test/background/', 'test/docs.'
]

// In CI, so many files that failed run again, alone: a test may have failed because of what else the machine did. Not
// those of which a failure may be a rare fault of the service, which the next run need not meet again.
const repeatsMax = 2
const isRepeatable = (file: string): boolean => !/test\/(scenarios|torture)\/|fuzz/.test(file)

type Count = { passed: number, failed: number, skipped: number }

// tap counts assertions and files. A test is a block with at least one assertion and no block inside it.
function countTests (file: Parser): Count {
  const count = { passed: 0, failed: 0, skipped: 0 }
  const watch = (block: Parser): void => {
    let isTest = true
    block.on('child', (child: Parser) => {
      isTest = false
      watch(child)
    })
    // Skipped blocks and those still to do have no inside: they are assertions of the block around them.
    block.on('complete', ({ ok, pass, fail, skip, todo }) => {
      if (isTest && pass + fail > 0) count[ok ? 'passed' : 'failed']++
      count.skipped += skip + todo
    })
  }
  watch(file)
  return count
}

/** Kills a process that has taken longer than it may; a test can ask for more time, which tap sends as a message. */
function limitTime (child: ChildProcess): void {
  let timer: NodeJS.Timeout
  const limitTo = (ms: number): void => {
    clearTimeout(timer)
    timer = setTimeout(() => child.kill('SIGKILL'), ms + graceMs)
  }
  limitTo(secondsMax * 1000)
  child.on('message', (message: { setTimeout?: number }) => {
    if (message.setTimeout !== undefined) limitTo(message.setTimeout)
  })
  child.on('close', () => { clearTimeout(timer) })
}

type Result = { name: string, isOk: boolean, tap: string, count: Count }

const running = new Set<ChildProcess>()

async function runFile (file: string, env: NodeJS.ProcessEnv): Promise<Result> {
  const name = relative('.', file)
  const begunAt = performance.now()
  const child = spawn(process.execPath, ['--import', withoutAsyncHooks, file], {
    env: { ...env, TAP_TIMEOUT: String(secondsMax) }, stdio: ['ignore', 'pipe', 'pipe', 'ipc']
  })
  running.add(child)
  limitTime(child)
  const parser = new Parser()
  const count = countTests(parser)
  let tap = ''
  let errors = ''
  child.stdout?.setEncoding('utf8').on('data', text => { tap += text })
  child.stderr?.setEncoding('utf8').on('data', text => { errors += text })
  const [code, signal] = await once(child, 'close') as [number | null, NodeJS.Signals | null]
  running.delete(child)
  parser.end(tap)
  const hasTests = count.passed + count.failed + count.skipped > 0
  const ending = code === 0 ? hasTests ? [] : ['no tests'] : [signal ?? `exit code ${code}`]
  const isOk = parser.ok && code === 0 && hasTests
  const seconds = `${((performance.now() - begunAt) / 1000).toFixed(1)} s`
  const summary = [`${count.passed} passed`, `${count.failed} failed`, ...ending, seconds].join(', ')
  process.stdout.write(`${errors}${isOk ? 'PASS' : 'FAIL'} ${name}: ${summary}\n`)
  return { name, isOk, tap, count }
}

/** Shows the failed assertions with their differences and places. */
function report (failures: readonly Result[]): void {
  const folder = mkdtempSync(join(tmpdir(), 'tap-'))
  const paths = failures.map(({ name, tap }) => {
    const path = join(folder, `${name.replaceAll('..', '_')}.tap`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, tap)
    return path
  })
  // Without a terminal, the reporter would write its progress again and again, with the codes that move the cursor.
  const env = process.stdout.isTTY ? process.env : { ...process.env, CI: 'true' }
  spawnSync('tap', ['--reporter=base', ...paths], { env, stdio: ['ignore', 'inherit', 'inherit'] })
  rmSync(folder, { recursive: true })
}

const failedOf = (results: readonly Result[]): readonly Result[] => results.filter(({ isOk }) => !isOk)

/** Replaces the result of a file that passes when it runs again. What failed at first has been reported. */
async function repeatFailed (results: Result[], env: NodeJS.ProcessEnv): Promise<void> {
  const failures = failedOf(results)
  if (failures.length > repeatsMax || !failures.every(({ name }) => isRepeatable(name))) return
  for (const failure of failures) {
    const again = await runFile(failure.name, env)
    if (!again.isOk) continue
    results[results.indexOf(failure)] = again
    console.log(`FLAKY ${failure.name}: it failed once, see above, and passed when it ran again, alone`)
  }
}

/** Runs the files, a few at a time, and reports each; `isOk`: every file ended well and had a test. */
export async function runFiles (files: readonly string[], env: NodeJS.ProcessEnv): Promise<Count & { isOk: boolean }> {
  const rank = (file: string): number => (slowest.findIndex(prefix => file.startsWith(prefix)) + 1) || slowest.length + 1
  const waiting = files.toSorted((one, other) => rank(one) - rank(other))
  const results: Result[] = []
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      waiting.length = 0
      for (const child of running) child.kill(signal)
    })
  }
  await Promise.all(Array.from({ length: processesMax }, async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) results.push(await runFile(file, env))
  }))
  if (failedOf(results).length > 0) report(failedOf(results))
  if (process.env.CI === 'true') await repeatFailed(results, env)
  const failures = failedOf(results)
  const total = (key: keyof Count): number => results.reduce((sum, { count }) => sum + count[key], 0)
  // A file that crashes outside its tests fails no test, but the run.
  const failed = total('failed') || failures.length
  return { isOk: failures.length === 0, passed: total('passed'), failed, skipped: total('skipped') }
}
