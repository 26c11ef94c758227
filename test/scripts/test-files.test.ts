import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const run = promisify(execFile)

const failsAtFirst = `
import { existsSync, writeFileSync } from 'node:fs'
import t from 'tap'
const mark = new URL('mark', import.meta.url)
t.test('a test', async t => {
  t.ok(existsSync(mark), 'it ran before')
  writeFileSync(mark, '')
})
`

const alwaysFails = "import t from 'tap'\nt.test('a test', async t => { t.equal(1, 2) })\n"

const passes = "import t from 'tap'\nt.test('a test', async t => { t.equal(1, 1) })\n"

/** Runs test files. Returns the exit code, the lines about files that failed once, and the last line. */
const prepare = (t: Test, files: Record<string, string>, CI: string) => {
  const folder = t.testdir({ test: { client: { ...files }, scenarios: { ...files } } })
  return async (...names: string[]) => {
    const paths = names.map(name => join(folder, 'test', name))
    const env = { ...process.env, CI, NODE_V8_COVERAGE: '' }
    const { code, stdout } = await run(process.execPath, ['scripts/test.ts', ...paths], { env }).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { code: number, stdout: string }) => error
    )
    const lines = stdout.trim().split('\n')
    return { code, flaky: lines.filter(line => line.startsWith('FLAKY')).length, last: lines.at(-1) }
  }
}

t.test('in CI a file that failed runs again, and what failed at first is said', async t => {
  const runAll = prepare(t, { 'once.test.ts': failsAtFirst, 'good.test.ts': passes }, 'true')
  t.same(await runAll('client/once.test.ts', 'client/good.test.ts'), { code: 0, flaky: 1, last: '2 passed, 0 failed' })
})

t.test('outside CI it does not run again', async t => {
  const runAll = prepare(t, { 'once.test.ts': failsAtFirst }, '')
  t.same(await runAll('client/once.test.ts'), { code: 1, flaky: 0, last: '0 passed, 1 failed' })
})

t.test('a scenario does not run again, nor do many files, and one that fails again has failed', async t => {
  const runAll = prepare(t, { 'once.test.ts': failsAtFirst, 'bad.test.ts': alwaysFails, 'worse.test.ts': alwaysFails }, 'true')
  t.same(await runAll('scenarios/once.test.ts'), { code: 1, flaky: 0, last: '0 passed, 1 failed' })
  t.same(await runAll('client/once.test.ts', 'client/bad.test.ts', 'client/worse.test.ts'), { code: 1, flaky: 0, last: '0 passed, 3 failed' })
  t.same(await runAll('client/bad.test.ts'), { code: 1, flaky: 0, last: '0 passed, 1 failed' })
})
