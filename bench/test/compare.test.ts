import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compareResults, readResult } from '../compare.ts'
import { type SuiteResult } from '../result.ts'
import { createSampleResult } from './sample-result.ts'

const change = (result: SuiteResult, scenario: string, mode: string, values: object): SuiteResult => {
  const measurement = result.scenarios.find(({ name }) => name === scenario)?.measurements
    .find(each => each.target === 'service' && each.mode === mode)
  if (!measurement) throw new Error(`the sample has no ${scenario}, ${mode}`)
  Object.assign(measurement, values)
  return result
}

const findRow = (markdown: string, ...first: string[]) =>
  markdown.split('\n').map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))
    .find(cells => first.every((cell, at) => cells[at] === cell))

t.test('a file that is no result of this schema is refused in one line that names it', async t => {
  const directory = t.testdir({
    'rubbish.json': '{"schema":',
    'other.json': '{"name":"something"}',
    'list.json': '[1]',
    'older.json': JSON.stringify({ ...createSampleResult(), schema: 0 }),
    'half.json': '{"schema":1}'
  })
  const refusals: [string, RegExp][] = [
    ['none.json', /cannot be read: ENOENT$/], ['rubbish.json', /is not a result of the bench$/], ['other.json', /is not a result of the bench$/],
    ['list.json', /is not a result of the bench$/], ['older.json', /has schema 0, this bench reads 1: measure it again$/], ['half.json', /is not a whole result/]
  ]
  for (const [name, message] of refusals) {
    const error = await readResult(join(directory, name)).then(() => undefined, (error: Error) => error)
    t.match(error?.message, message)
    t.ok(error?.message.startsWith(join(directory, name)))
    t.notMatch(error?.message, '\n')
  }
  const path = join(directory, 'good.json')
  writeFileSync(path, JSON.stringify(createSampleResult()))
  t.strictSame(await readResult(path), createSampleResult())
})

t.test('results of another machine or mode are refused', async t => {
  const base = createSampleResult()
  for (const machine of [{ cpu: 'AMD EPYC' }, { cores: 4 }, { memoryGiB: 16 }, { platform: 'darwin arm64' }]) {
    const current = createSampleResult()
    Object.assign(current.machine, machine)
    t.throws(() => compareResults(base, current), { message: /^results of different machines cannot be compared: .*Xeon.* and [^\n]*$/ })
  }
  t.throws(() => compareResults(base, { ...createSampleResult(), mode: 'quick' }), { message: 'results of different modes cannot be compared: full and quick' })
})

t.test('each scenario and target with what changed, in percent', async t => {
  const base = change(change(createSampleResult(), 'cold', 'capacity', { requestsPerSecond: 20_000, serverCpuPerRequest: 40 }), 'cold', 'latency', { p95: 1000 })
  const current = change(change(createSampleResult(), 'cold', 'capacity', { requestsPerSecond: 18_000, serverCpuPerRequest: 36, isLowerBound: true }), 'cold', 'latency', { p95: 1500 })
  const markdown = compareResults(base, current)
  t.strictSame(findRow(markdown, 'cold read, from SQLite', 'service')?.slice(2),
    ['20,000 → ≥ 18,000 (−10.0 %)', '40.0 → 36.0 (−10.0 %)', '1.00 → 1.50 (+50.0 %)'])
  t.equal(findRow(markdown, 'cached read, v1', 'bullmq')?.[3], '82.4 → 82.4 (+0.0 %)')
  t.match(markdown, /\n\nNo CPU per request rose by more than 10 %, of 31 compared\.\n\n/)
  t.notMatch(markdown, /Other versions|Only in|dearer/)
})

t.test('CPU that rose by more than 10 % is marked, in its row and above all; 10 % is not', async t => {
  const base = change(change(createSampleResult(), 'cold', 'capacity', { serverCpuPerRequest: 40 }), 'cached-v1', 'capacity', { serverCpuPerRequest: 20 })
  const current = change(change(createSampleResult(), 'cold', 'capacity', { serverCpuPerRequest: 44.1 }), 'cached-v1', 'capacity', { serverCpuPerRequest: 22 })
  const markdown = compareResults(base, current)
  t.equal(findRow(markdown, 'cold read, from SQLite', 'service')?.[3], '40.0 → 44.1 (+10.3 %) **dearer**')
  t.equal(findRow(markdown, 'cached read, v1', 'service')?.[3], '20.0 → 22.0 (+10.0 %)')
  t.match(markdown, 'CPU per request rose by more than 10 % in 1 of 31: cold read, from SQLite.')
})

t.test('what cannot be compared is said', async t => {
  const [base, current] = [createSampleResult(), createSampleResult()]
  base.scenarios = base.scenarios.filter(({ name }) => name !== 'tokens')
  current.scenarios = current.scenarios.filter(({ name }) => name !== 'bulk')
  current.scenarios[0]?.invalid.push('3 errors')
  current.versions = { ...current.versions, node: '26.10.0' }
  change(current, 'cold', 'capacity', { requestsPerSecond: 0 })
  base.scenarios.find(({ name }) => name === 'absent')?.measurements.splice(0, 2)
  change(base, 'cold', 'capacity', { serverCpuPerRequest: null })
  change(base, 'cold', 'latency', { serverCpuPerRequest: null })
  const markdown = compareResults(base, current)
  t.match(markdown, 'Other versions: node 24.21.0 → 26.10.0.')
  t.match(markdown, 'Only in the base: bulk of 100 ids; bulk of 100 ids, bare.')
  t.match(markdown, 'Only in the new result: absent id (404); 200 distinct tokens; 200 distinct tokens, bare.')
  t.ok(findRow(markdown, 'cached read, v1 (not valid)', 'service'))
  t.equal(findRow(markdown, 'cold read, from SQLite', 'service')?.[3], '– → 40.1')
})
