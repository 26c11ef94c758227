// Runs the tests: all of test/ with coverage, or without coverage those that are named (`npm test -- test/job`).
import { spawn, spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Parser } from 'tap-parser'
import ts from 'typescript'
import { ensureBinaries } from './services.ts'

const thresholdPercent = 95
const rawCoverage = 'coverage/tmp'
const tapArgs = process.argv.slice(2).flatMap(arg =>
  statSync(arg, { throwIfNoEntry: false })?.isDirectory() ? globSync(`${arg}/**/*.test.ts`) : [arg]
)
const isWholeRun = process.argv.length === 2

// tap compiles its plugin list into its own package and does not notice that .taprc asks for another.
function buildTap (): void {
  const built = readFileSync('node_modules/@tapjs/test/test-built/dist/esm/index.js', 'utf8')
  if (!built.includes('@tapjs/typescript')) return
  const { status } = spawnSync('tap', ['build'], { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error('tap build failed')
}

// tap's own summary counts assertions and files. A test is a block with at least one assertion and no block inside it.
function countTests (folder: string): { passed: number, failed: number, skipped: number } {
  const count = { passed: 0, failed: 0, skipped: 0 }
  const watch = (block: Parser): Parser => {
    let isTest = true
    block.on('child', (child: Parser) => {
      isTest = false
      watch(child)
    })
    // Skipped blocks and those still to do have no inside: they are assertions of the block around them.
    return block.on('complete', ({ ok, pass, fail, skip, todo }) => {
      if (isTest && pass + fail > 0) count[ok ? 'passed' : 'failed']++
      count.skipped += skip + todo
    })
  }
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.ts.tap')) watch(new Parser()).end(readFileSync(join(folder, name), 'utf8'))
  }
  return count
}

async function runTap (): Promise<{ exitCode: number, passed: number, failed: number }> {
  const env: NodeJS.ProcessEnv = { ...process.env }
  // Node itself reads this variable, so every process and worker thread that a test starts is covered as well.
  if (isWholeRun) env.NODE_V8_COVERAGE = rawCoverage
  // Some 300 processes load the same modules: Node keeps their compiled code and stripped TypeScript here, which saves each
  // a quarter to a half of its start. Node warns that coverage gets less precise: it was compared, lines were identical
  // and branches differed by 1 in 2,000.
  env.NODE_COMPILE_CACHE ??= resolve('node_modules/.cache/node-compile')
  // Without a terminal, tap's reporter would write its progress again and again, with the codes that move the cursor.
  if (!process.stdout.isTTY) env.CI = 'true'
  const folder = mkdtempSync(join(tmpdir(), 'tap-'))
  const tap = spawn('tap', ['--reporter=base', `--output-dir=${folder}`, ...tapArgs], {
    env, stdio: ['ignore', 'inherit', 'inherit']
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => tap.kill(signal))
  const exitCode = await new Promise<number>((resolve, reject) => {
    tap.on('error', reject)
    tap.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
  const { passed, failed, skipped } = countTests(folder)
  rmSync(folder, { recursive: true })
  const nothingRan = passed + failed === 0
  if (nothingRan) console.log('no test ran')
  if (skipped > 0) console.log(`${skipped} skipped or to do`)
  // A file that crashes outside its tests fails no test, but the run.
  return { exitCode: exitCode || Number(nothingRan), passed, failed: failed || Number(exitCode !== 0) }
}

// V8 does not report a file that contains only types, because it is never loaded; c8 would count it as uncovered.
function typeOnlyFiles (): string[] {
  const compilerOptions = {
    target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, removeComments: true
  }
  return globSync('src/**/*.ts').filter(path => {
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), { compilerOptions })
    return outputText.trim() === 'export {};'
  })
}

function c8Report (...args: string[]): number {
  return spawnSync('c8', [
    'report', '--temp-directory', rawCoverage, '--merge-async', '--all', '--src', 'src', '--include', 'src/**/*.ts',
    '--extension', '.ts', ...typeOnlyFiles().flatMap(path => ['--exclude', path]), ...args
  ], { stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1
}

function checkCoverage (): number {
  const threshold = String(thresholdPercent)
  const status = c8Report(
    '--reporter', 'text-summary', '--reporter', 'lcov',
    '--check-coverage', '--lines', threshold, '--branches', threshold
  )
  if (status !== 0) {
    c8Report('--reporter', 'text', '--skip-full')
    console.log(`coverage is below ${threshold} % of lines or of branches`)
  }
  return status
}

try {
  ensureBinaries()
  buildTap()
  if (isWholeRun) rmSync('coverage', { recursive: true, force: true })
  const { exitCode, passed, failed } = await runTap()
  const coverageStatus = isWholeRun ? checkCoverage() : 0
  process.exitCode = exitCode || coverageStatus
  // The reporter shows the cursor again without ending its line.
  console.log(`\n${passed} passed, ${failed} failed`)
} catch (error) {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
