// Runs the tests: all of test/ with coverage, or without coverage those that are named (`npm test -- test/job`).
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync, rmSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { ensureBinaries } from './services.ts'
import { runFiles } from './test-files.ts'

const thresholdPercent = 95
const rawCoverage = 'coverage/tmp'
const isWholeRun = process.argv.length === 2

// tap compiles its plugin list into its own package and does not notice that .taprc asks for another.
function buildTap (): void {
  const built = readFileSync('node_modules/@tapjs/test/test-built/dist/esm/index.js', 'utf8')
  if (!built.includes('@tapjs/typescript')) return
  const { status } = spawnSync('tap', ['build'], { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error('tap build failed')
}

// Node itself reads these variables, so that every process and worker thread that a test starts is covered as well.
function toEnvironment (): NodeJS.ProcessEnv {
  return {
    // Some 300 processes load the same modules: Node keeps their compiled code and stripped TypeScript here, which saves
    // each a quarter to a half of its start. Node warns that coverage gets less precise: it was compared, lines were
    // identical and branches differed by 1 in 2,000.
    NODE_COMPILE_CACHE: resolve('node_modules/.cache/node-compile'),
    ...process.env,
    ...isWholeRun ? { NODE_V8_COVERAGE: resolve(rawCoverage) } : {}
  }
}

// V8 does not report a file that contains only types, because it is never loaded; c8 would count it as uncovered.
async function typeOnlyFiles (): Promise<string[]> {
  // It takes half of the start of a run of one file, which needs none of it.
  const { default: ts } = await import('typescript')
  const compilerOptions = {
    target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, removeComments: true
  }
  return globSync('src/**/*.ts').filter(path => {
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), { compilerOptions })
    return outputText.trim() === 'export {};'
  })
}

async function c8Report (...args: string[]): Promise<number> {
  const typeOnly = await typeOnlyFiles()
  return spawnSync('c8', [
    'report', '--temp-directory', rawCoverage, '--merge-async', '--all', '--src', 'src', '--include', 'src/**/*.ts',
    '--extension', '.ts', ...typeOnly.flatMap(path => ['--exclude', path]), ...args
  ], { stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1
}

async function checkCoverage (): Promise<number> {
  const threshold = String(thresholdPercent)
  const status = await c8Report(
    '--reporter', 'text-summary', '--reporter', 'lcov',
    '--check-coverage', '--lines', threshold, '--branches', threshold
  )
  if (status !== 0) {
    await c8Report('--reporter', 'text', '--skip-full')
    console.log(`coverage is below ${threshold} % of lines or of branches`)
  }
  return status
}

try {
  const files = (isWholeRun ? ['test'] : process.argv.slice(2)).flatMap(path =>
    statSync(path).isDirectory() ? globSync(`${path}/**/*.test.ts`) : [path]
  )
  // A browser is large: it is installed for the tests of the page only.
  const hasPageTests = files.some(file => /(^|\/)test\/ui\//.test(file))
  ensureBinaries(hasPageTests ? { chromium: 'chromium' } : {})
  buildTap()
  if (isWholeRun) rmSync('coverage', { recursive: true, force: true })
  const { isOk, passed, failed, skipped } = await runFiles(files, toEnvironment())
  const coverageStatus = isWholeRun ? await checkCoverage() : 0
  process.exitCode = isOk ? coverageStatus : 1
  if (skipped > 0) console.log(`${skipped} skipped or to do`)
  console.log(`\n${passed} passed, ${failed} failed`)
} catch (error) {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
