import { join } from 'node:path'
import t from 'tap'
import { compareResults, readResult } from '../compare.ts'
import type { SuiteResult } from '../result.ts'
import { createSampleResult, findRow } from './sample-result.ts'

const change = (result: SuiteResult, scenario: string, mode: string, values: object): SuiteResult => {
  const measurement = result.scenarios.find(({ name }) => name === scenario)?.measurements
    .find(each => each.target === 'service' && each.mode === mode)
  if (!measurement) throw new Error(`the sample has no ${scenario}, ${mode}`)
  Object.assign(measurement, values)
  return result
}

t.test('rejects a file that is no result of this schema, in one line with its path', async t => {
  const directory = t.testdir({
    'rubbish.json': '{"schema":',
    'other.json': '{"name":"something"}',
    'list.json': '[1]',
    'older.json': JSON.stringify({ ...createSampleResult(), schema: 0 }),
    'half.json': '{"schema":1}'
  })
  const errors: [string, RegExp][] = [
    ['none.json', /^cannot read .*: ENOENT$/],
    ['rubbish.json', /is not a bench result$/],
    ['other.json', /is not a bench result$/],
    ['list.json', /is not a bench result$/],
    ['older.json', /has schema 0, this bench reads schema 1: measure again$/],
    ['half.json', /is not a complete bench result$/]
  ]
  for (const [name, message] of errors) {
    const error = await readResult(join(directory, name)).then(() => undefined, (error: Error) => error)
    t.match(error?.message, message)
    t.ok(error?.message.includes(join(directory, name)))
    t.notMatch(error?.message, '\n')
  }
})

t.test('rejects results of another machine or mode', async t => {
  const base = createSampleResult()
  for (const machine of [{ cpu: 'AMD EPYC' }, { cores: 4 }, { memoryGiB: 16 }, { platform: 'darwin arm64' }]) {
    const current = createSampleResult()
    Object.assign(current.machine, machine)
    t.throws(() => compareResults(base, current), {
      message: /^cannot compare results of different machines: .*Xeon.* and [^\n]*$/
    })
  }
  t.throws(() => compareResults(base, { ...createSampleResult(), mode: 'quick' }), {
    message: 'cannot compare results of different modes: full and quick'
  })
})

t.test('lists the change of each scenario and target in percent', async t => {
  const cold = (capacity: object, p95: number) =>
    change(change(createSampleResult(), 'cold', 'capacity', capacity), 'cold', 'latency', { p95 })
  const base = cold({ requestsPerSecond: 20_000, serverCpuPerRequest: 40 }, 1000)
  const current = cold({ requestsPerSecond: 18_000, serverCpuPerRequest: 36, isLowerBound: true }, 1500)
  const markdown = compareResults(base, current)
  t.strictSame(findRow(markdown, 'cold read, from SQLite', 'service')?.slice(2),
    ['20,000 → ≥ 18,000 (−10.0 %)', '40.0 → 36.0 (−10.0 %)', '1.00 → 1.50 (+50.0 %)'])
  t.equal(findRow(markdown, 'cached read, v1', 'bullmq')?.[3], '82.4 → 82.4 (+0.0 %)')
  t.match(markdown, /\n\nCPU per request rose by more than 10 % in none of 31\.\n\n/)
  t.notMatch(markdown, /Changed versions|Only in|higher/)
})

t.test('marks CPU that rose by more than 10 %, in its row and in the summary', async t => {
  const withCpu = (cold: number, cached: number) => {
    const result = change(createSampleResult(), 'cold', 'capacity', { serverCpuPerRequest: cold })
    return change(result, 'cached-v1', 'capacity', { serverCpuPerRequest: cached })
  }
  const [base, current] = [withCpu(40, 20), withCpu(44.1, 22)]
  const markdown = compareResults(base, current)
  t.equal(findRow(markdown, 'cold read, from SQLite', 'service')?.[3], '40.0 → 44.1 (+10.3 %) **higher**')
  t.equal(findRow(markdown, 'cached read, v1', 'service')?.[3], '20.0 → 22.0 (+10.0 %)')
  t.match(markdown, 'CPU per request rose by more than 10 % in 1 of 31: cold read, from SQLite.')
})

t.test('lists versions, scenarios and targets that differ', async t => {
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
  t.match(markdown, 'Changed versions: node 24.21.0 → 26.10.0.')
  t.match(markdown, 'Only in the base: bulk of 100 ids; bulk of 100 ids, bare.')
  t.match(markdown, 'Only in the new result: absent id (404); 200 distinct tokens; 200 distinct tokens, bare.')
  t.ok(findRow(markdown, 'cached read, v1 (not valid)', 'service'))
  t.equal(findRow(markdown, 'cold read, from SQLite', 'service')?.[3], '– → 40.1')
})
