import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { SuiteResult } from '../result.ts'
import { type Scenario, scenarios, type Target } from '../scenarios.ts'
import { runSuite } from '../suite.ts'
import { spawnService } from '../../test/helpers/service.ts'
import { token } from '../../test/helpers/tokens.ts'

const run = promisify(execFile)
const [slow, forgetful] = ['slow', 'forgetful'].map(name => `--import=./bench/test/faults/${name}.ts`)

/** The scenario with the service alone, at a rate that a busy machine bears. */
const alone = (name: string, target: Partial<Target> = {}): Scenario => {
  const scenario = scenarios.find(scenario => scenario.name === name)
  const [service] = scenario?.targets ?? []
  if (scenario === undefined || service === undefined) throw new Error(`there is no scenario ${name}`)
  return { ...scenario, targets: [{ ...service, modes: ['latency'], rate: 300, ...target }] }
}

const runBriefly = async (scenario: Scenario, serviceArgs: string[] = []): Promise<{ result: SuiteResult, notes: string[], broken: string[] }> => {
  const notes: string[] = []
  const result = await runSuite({
    scenarios: [scenario],
    mode: 'quick',
    durations: { rounds: 1, warmUpSeconds: 0.2, capacitySeconds: 0.3, latencySeconds: 0.4 },
    serviceArgs,
    progress: { step: () => {}, note: line => { notes.push(line) } }
  })
  return { result, notes, broken: result.verdicts.filter(({ outcome }) => outcome === 'broken').map(({ rule }) => rule) }
}

/** The real command line, with its reports in a folder of the test. */
const bench = async (t: Test, ...args: string[]): Promise<{ code: number, stdout: string, stderr: string, reports: string[] }> => {
  const out = t.testdir()
  const { code, stdout, stderr } = await run(process.execPath, ['bench/run.ts', '--out', out, ...args]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number, stdout: string, stderr: string }) => error
  )
  return { code, stdout, stderr, reports: readdirSync(out).map(name => name.replace(/^[^.]*\.\d+Z\./, '')).sort() }
}

t.test('a service that is as it should be passes', async t => {
  const { result, broken } = await runBriefly(alone('memory'))
  t.same(broken, [])
  t.equal(result.outcome, 'passed')
  const [{ measurements: [measured], invalid } = { measurements: [], invalid: [] }] = result.scenarios
  t.same(invalid, [])
  t.match(measured, { target: 'service', mode: 'latency', errors: 0, statusCodes: { 200: Number } })
  t.ok((measured?.serverCpuPerRequest ?? 0) > 0, 'the server told its CPU time')
})

t.test('one store read more for each poll is a breach, and measured twice before it is said', async t => {
  const { result, notes, broken } = await runBriefly(alone('memory'), [forgetful ?? ''])
  t.equal(result.outcome, 'breach')
  t.ok(broken.includes('store reads per 1,000 requests'))
  t.ok(result.scenarios[0]?.confirmed)
  t.match(notes, [/^memory: breach, run again: .*store reads/])
})

t.test('60 ms more are a breach, and the command ends with 99', async t => {
  const { code, stdout, stderr, reports } = await bench(t, '--quick', '--only', 'memory', '--rounds', '1', '--seconds', '0.3', `--service-arg=${slow}`)
  t.equal(code, 99)
  t.match(stdout, /^# Bench: breach\n/)
  t.match(stdout, /\| P95 +\| ≤ 50 ms \|.*\*\*broken\*\*/)
  t.match(stderr, /memory: breach, run again/)
  t.same(reports, ['html', 'json', 'junit.xml', 'md'])
})

t.test('a service elsewhere: 0 where it keeps its promise, 2 where the run says nothing', async t => {
  const { url, submit } = await spawnService(t, { WORKERS: '0' })
  const aim = ['--url', url, '--rate', '400', '--rounds', '1', '--seconds', '0.4']
  const jobId = await submit('bench', null)
  const passed = await bench(t, ...aim, '--token', token(), '--job', jobId, '--only', 'not-modified')
  t.match(passed, { code: 0, stdout: /^# Bench: passed\n/ })
  const submitted = await bench(t, ...aim, '--token', token({ scope: 'jobs:read' }), '--only', 'cached')
  t.match(submitted, { code: 2, stderr: /no job to poll could be submitted; name one with --job\n.*FORBIDDEN/ })
  const unknown = await bench(t, ...aim, '--token', token(), '--job', 'no-such-job', '--only', 'cached')
  t.match(unknown, { code: 2, stdout: /^# Bench: invalid\n[^]*answers were not 200: \{"404":\d+\}/ })
})

t.test('what makes no sense is refused before anything is measured', async t => {
  t.match(await bench(t, '--only', 'cached,nonsense'), { code: 2, stderr: /no such scenario: nonsense/, reports: [] })
  t.match(await bench(t, '--url', 'http://127.0.0.1:1'), { code: 2, stderr: /--url needs --token/ })
  t.match(await bench(t, '--quick', '--compare', 'package.json'), { code: 2, stderr: /not a result of the bench/ })
})
