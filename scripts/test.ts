// What `npm test` runs: every test under coverage, or (`npm test -- test/job`) some of them without.
import { spawn, spawnSync } from 'node:child_process'
import { globSync, readFileSync, rmSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import ts from 'typescript'
import { ensureBinaries } from './services.ts'
import { readTap } from './test-report.ts'

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

async function runTap (): Promise<{ exitCode: number; passed: number; failed: number }> {
  const env: NodeJS.ProcessEnv = { ...process.env }
  // Read by Node itself, so that every process and worker thread a test starts counts as well.
  if (isWholeRun) env.NODE_V8_COVERAGE = rawCoverage
  const tap = spawn('tap', ['--reporter=tap', ...tapArgs], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => tap.kill(signal))
  const ended = new Promise<number>((resolve, reject) => {
    tap.on('error', reject)
    tap.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
  const [tally, exitCode] = await Promise.all([readTap(tap.stdout, line => console.log(line)), ended])
  const nothingRan = tally.passed + tally.failed === 0
  if (nothingRan) console.log('no test ran')
  const failed = exitCode !== 0 && tally.failed === 0 ? 1 : tally.failed
  if (tally.skipped > 0) console.log(`${tally.skipped} skipped or to do`)
  return { exitCode: exitCode || Number(failed > 0 || nothingRan), passed: tally.passed, failed }
}

// A file of types alone is never loaded, so V8 cannot report it, and c8 would take it for uncovered code.
function typeOnlyFiles (): string[] {
  const compilerOptions = { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, removeComments: true }
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
  console.log(`${passed} passed, ${failed} failed`)
} catch (error) {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
