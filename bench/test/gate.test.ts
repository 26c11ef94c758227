import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { SuiteResult } from '../result.ts'
import { type Scenario, scenarios, type Target } from '../scenarios.ts'
import { runSuite } from '../suite.ts'
import { spawnService } from '../../test/helpers/service.ts'
import { token } from '../../test/helpers/tokens.ts'

const run = promisify(execFile)
const [slow, forgetful] = ['slow', 'forgetful'].map(name => `--import=./bench/test/faults/${name}.ts`)

/** The scenario with the service as its only target, at a rate that a busy machine can serve. */
const alone = (name: string, target: Partial<Target> = {}): Scenario => {
  const scenario = scenarios.find(scenario => scenario.name === name)
  const [service] = scenario?.targets ?? []
  if (scenario === undefined || service === undefined) throw new Error(`unknown scenario: ${name}`)
  return { ...scenario, targets: [{ ...service, modes: ['latency'], rate: 300, ...target }] }
}

type Run = { result: SuiteResult, notes: string[], broken: string[] }

const runBriefly = async (scenario: Scenario, serviceArgs: string[] = []): Promise<Run> => {
  const notes: string[] = []
  const result = await runSuite({
    scenarios: [scenario],
    mode: 'quick',
    durations: { rounds: 1, warmUpSeconds: 0.2, capacitySeconds: 0.3, latencySeconds: 0.4 },
    serviceArgs,
    progress: { step: () => {}, note: line => { notes.push(line) } }
  })
  const broken = result.verdicts.filter(({ outcome }) => outcome === 'broken').map(({ rule }) => rule)
  return { result, notes, broken }
}

type Ended = { code: number, stdout: string, stderr: string, reports: string[] }

/** Runs the command line, with its reports in a folder of their own: t.testdir() would remove a service's database. */
const bench = async (t: Test, ...args: string[]): Promise<Ended> => await benchWith(t, {}, ...args)

const benchWith = async (t: Test, env: Record<string, string>, ...args: string[]): Promise<Ended> => {
  const out = mkdtempSync(join(tmpdir(), 'bench-'))
  t.teardown(() => { rmSync(out, { recursive: true }) })
  const command = ['bench/run.ts', '--out', out, ...args]
  const { code, stdout, stderr } = await run(process.execPath, command, { env: { ...process.env, ...env } }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number, stdout: string, stderr: string }) => error
  )
  return { code, stdout, stderr, reports: readdirSync(out).map(name => name.replace(/^[^.]*\.\d+Z\./, '')).sort() }
}

t.test('passes a service without a fault', async t => {
  const { result, broken } = await runBriefly(alone('memory'))
  t.same(broken, [])
  t.equal(result.outcome, 'passed')
  const [{ measurements: [measured], invalid } = { measurements: [], invalid: [] }] = result.scenarios
  t.same(invalid, [])
  t.match(measured, { target: 'service', mode: 'latency', errors: 0, statusCodes: { 200: Number } })
  t.ok((measured?.serverCpuPerRequest ?? 0) > 0, 'the server reported its CPU time')
})

t.test('reports an additional store read per poll as a breach, after a second measurement', async t => {
  const { result, notes, broken } = await runBriefly(alone('memory'), [forgetful ?? ''])
  t.equal(result.outcome, 'breach')
  t.ok(broken.includes('store reads per 1,000 requests'))
  t.ok(result.scenarios[0]?.confirmed)
  t.match(notes, [/^memory: breach, run again: .*store reads/])
})

/** Repeats a quick run whose latency does not count, because other processes took the service's time. */
const untilItCounts = async (run: () => Promise<Ended>): Promise<Ended> => {
  for (let attempts = 1; ; attempts++) {
    const ended = await run()
    if (attempts === 10 || !/does not count: .*waited for a core/.test(ended.stderr)) return ended
  }
}

t.test('reports 60 ms of additional latency as a breach, and exits with 99', async t => {
  const args = ['--quick', '--only', 'memory', '--rounds', '1', '--seconds', '0.3', `--service-arg=${slow}`]
  const { code, stdout, stderr, reports } = await untilItCounts(() => bench(t, ...args))
  t.equal(code, 99)
  t.match(stdout, /^# Bench: breach\n/)
  t.match(stdout, /\| P95 +\| +≤ 50 ms \|.*\*\*broken\*\*/)
  t.match(stderr, /memory: breach, run again/)
  t.same(reports, ['html', 'json', 'junit.xml', 'md'])
})

t.test('measures a deployed service: exits with 0 if the budgets are kept, with 2 if the run is invalid', async t => {
  const { url, submit, databasePath } = await spawnService(t, { WORKERS: '0' })
  const options = ['--url', url, '--rate', '400', '--rounds', '1', '--seconds', '0.4']
  const jobId = await submit('bench', null)
  const passed = await bench(t, ...options, '--token', token(), '--job', jobId, '--only', 'not-modified')
  t.match(passed, { code: 0, stdout: /^# Bench: passed\n/ })
  const submitted = await bench(t, ...options, '--token', token({ scope: 'jobs:read' }), '--only', 'cached')
  t.match(submitted, { code: 2, stderr: /\/api\/v1\/jobs is 403: the token lacks a scope: .*--job/, reports: [] })
  const unknown = await bench(t, ...options, '--token', token(), '--job', 'no-such-job', '--only', 'cached')
  t.match(unknown, { code: 2, stderr: /\/api\/v1\/jobs\/no-such-job is 404: there is no such job/, reports: [] })
  const limited = await spawnService(t, { WORKERS: '0', RATE_LIMIT_PER_MINUTE: '30' }, `${databasePath}.limited`)
  const polled = await limited.submit('bench', null)
  const invalid =
    await bench(t, ...options, '--url', limited.url, '--token', token(), '--job', polled, '--only', 'cached')
  t.match(invalid, { code: 2, stdout: /^# Bench: invalid\n[^]*responses were not 200: \{.*"429":\d+/ })
})

t.test('takes the token from BENCH_TOKEN, and exits with 99 if --p99 is exceeded', async t => {
  const { url, submit } = await spawnService(t, { WORKERS: '0' })
  const env = { BENCH_TOKEN: `${token()}\n` }
  const options = [
    '--url', url, '--job', await submit('bench', null), '--only', 'cached', '--rate', '400', '--rounds', '1', '--seconds', '0.4'
  ]
  const broken = await benchWith(t, env, ...options, '--p95', '60000', '--p99', '0.001')
  t.match(broken, { code: 99, stdout: /^# Bench: breach\n\n2 of 3 budgets kept[^]*: P99: [\d.]+ ms, budget ≤ 0\.001 ms\n/ })
  t.notOk((broken.stdout + broken.stderr).includes(token().slice(0, 40)))
})

t.test('rejects a wrong command line before it measures anything', async t => {
  t.match(await bench(t, '--only', 'cached,nonsense'), { code: 2, stderr: /unknown scenario: nonsense/, reports: [] })
  t.match(await bench(t, '--url', 'http://127.0.0.1:1'), { code: 2, stderr: /--url requires a token: set BENCH_TOKEN, or --token/ })
  t.match(await bench(t, '--p95', '5'), { code: 2, stderr: /--p95 and --p99 require --url/ })
  const spoilt = await bench(t, '--url', 'http://127.0.0.1:1', '--token', 'se cret')
  t.match(spoilt, { code: 2, stderr: /^error: the token has characters that no bearer token has\n$/ })
  const inUrl = await bench(t, '--url', 'http://user:se-cret@127.0.0.1:1')
  t.match(inUrl, { code: 2, stderr: /^error: --url must have neither user nor password\n$/ })
  t.match(await bench(t, '--quick', '--compare', 'package.json'), { code: 2, stderr: /not a bench result/ })
})
