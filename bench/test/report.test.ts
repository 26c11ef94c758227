import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseDocument } from 'htmlparser2'
import t from 'tap'
import { readResult } from '../compare.ts'
import { toHtml } from '../report/html.ts'
import { toJunit } from '../report/junit.ts'
import { toMarkdown } from '../report/markdown.ts'
import { writeReports } from '../report/write.ts'
import type { Measurement, SuiteResult } from '../result.ts'
import { createSampleResult, findRow } from './sample-result.ts'

const find = (result: SuiteResult, scenario: string, target: string, mode: Measurement['mode']): Measurement => {
  const found = result.scenarios.find(({ name }) => name === scenario)?.measurements
    .find(each => each.target === target && each.mode === mode)
  if (!found) throw new Error(`the sample has no ${scenario}, ${target}, ${mode}`)
  return found
}

/** A result in which `cached-v1` breaks a budget and the run of `redis-killed` is not valid. */
const createBadResult = (): SuiteResult => {
  const result = createSampleResult()
  result.outcome = 'invalid'
  for (const scenario of result.scenarios) {
    if (scenario.name === 'redis-killed') scenario.invalid.push('17 unexpected answers', 'the generator was saturated')
    if (scenario.name === 'cached-v1') scenario.confirmed = true
  }
  for (const verdict of result.verdicts) {
    const { scenario, rule } = verdict
    if (scenario === 'redis-killed' && rule === 'errors') Object.assign(verdict, { actual: 17, outcome: 'broken' })
    if (scenario === 'cached-v1' && rule.startsWith('CPU')) Object.assign(verdict, { actual: 2.348, outcome: 'broken' })
  }
  return result
}

t.test('writes four reports named by the start of the run, and the JSON contains the whole result', async t => {
  const directory = join(t.testdir(), 'not/there/yet')
  const result = createSampleResult()
  const paths = await writeReports(result, directory)
  t.strictSame(paths, ['json', 'md', 'junit.xml', 'html'].map(extension =>
    join(directory, `2026-11-21T10-20-30.456Z.${extension}`)))
  t.strictSame(await readResult(paths[0] ?? ''), result)
  t.equal(readFileSync(paths[1] ?? '', 'utf8'), toMarkdown(result))
  t.equal(readFileSync(paths[2] ?? '', 'utf8'), toJunit(result))
  t.match(readFileSync(paths[3] ?? '', 'utf8'), /^<!doctype html>/)
})

t.test('Markdown', async t => {
  t.test('starts with the outcome and the number of kept budgets', async t => {
    t.ok(toMarkdown(createSampleResult()).startsWith(['# Bench: passed', '',
      '33 of 33 budgets kept, 13 of 13 scenarios valid, full run of 12 min 11 s.', '', '## Scenarios'].join('\n')))
  })

  t.test('contains a row for each target: throughput of the closed loop, latencies of the fixed rate', async t => {
    const result = createSampleResult()
    Object.assign(find(result, 'cold', 'service', 'capacity'), {
      requestsPerSecond: 16351.4,
      serverCpuPerRequest: 40.12,
      storeReadsPer1000: 998.5,
      redisCommandsPerRequest: 3,
      redisCpuPerRequest: 5.43,
      redisBytesPerRequest: 640.2,
      p50: 1,
      p95: 1,
      p99: 1,
      p999: 1
    })
    Object.assign(find(result, 'cold', 'service', 'latency'), {
      requestsPerSecond: 2000, serverCpuPerRequest: 99, p50: 779, p95: 1254, p99: 15_600, p999: 123_456
    })
    find(result, 'cold', 'bare', 'capacity').serverCpuPerRequest = 20.06
    find(result, 'cold', 'bare', 'latency').serverCpuPerRequest = 1
    const markdown = toMarkdown(result)
    t.strictSame(findRow(markdown, 'cold read, from SQLite', 'service')?.slice(2),
      ['16,351', '0.779', '1.25', '15.6', '123', '40.1', '2.00', '–', '998.5', '3', '5.4', '640'])
    t.strictSame(findRow(markdown, 'cached read, v1', 'bullmq')?.slice(-6), ['5.84', '–', '–', '–', '–', '–'])
  })

  t.test('compares with a bare route and with one that sends the same bytes', async t => {
    const result = createSampleResult()
    const bare = find(result, 'cold', 'bare', 'capacity')
    bare.serverCpuPerRequest = 20
    find(result, 'cold', 'service', 'capacity').serverCpuPerRequest = 60
    result.scenarios.find(({ name }) => name === 'cold')?.measurements
      .push({ ...bare, target: 'bare-same', serverCpuPerRequest: 25 })
    const markdown = toMarkdown(result)
    const ratios = (target: string) => findRow(markdown, 'cold read, from SQLite', target)?.slice(8, 10)
    t.strictSame(ratios('service'), ['3.00', '2.40'])
    t.strictSame(ratios('bare-same'), ['1.25', '1.00'])
    t.match(await toHtml(result), '<strong>3.00 ×</strong><span>same bytes 2.40, budget 3.00</span>')
  })

  t.test('marks rows in which the generator was the limit, and figures that were not measured', async t => {
    const result = createSampleResult()
    Object.assign(find(result, 'cold', 'service', 'capacity'), { isLowerBound: true, requestsPerSecond: 31_000 })
    const remote = result.scenarios.find(({ name }) => name === 'bulk')
    if (remote) {
      remote.measurements = [{
        ...find(result, 'bulk', 'service', 'latency'),
        serverCpuPerRequest: null,
        redisCommandsPerRequest: null,
        storeReadsPer1000: null
      }]
    }
    const markdown = toMarkdown(result)
    t.equal(findRow(markdown, 'cold read, from SQLite', 'service')?.[2], '≥ 31,000')
    t.strictSame(findRow(markdown, 'bulk of 100 ids', 'service')?.map(cell => cell === '–'),
      [false, false, true, false, false, false, false, true, true, true, true, true, true, true])
  })

  t.test('compares a scenario without a bare route with that of the other scenarios, under the same load', async t => {
    const result = createSampleResult()
    for (const scenario of result.scenarios) {
      if (scenario.name !== 'cold') continue
      scenario.measurements = scenario.measurements
        .filter(({ target, mode }) => target === 'service' && mode === 'latency')
    }
    find(result, 'cold', 'service', 'latency').serverCpuPerRequest = 14.1 * 1.6 * 3
    t.equal(findRow(toMarkdown(result), 'cold read, from SQLite', 'service')?.[8], '3.00')
  })

  t.test('compares the load under which the bare route ran in the same scenario', async t => {
    const result = createSampleResult()
    for (const scenario of result.scenarios) {
      if (scenario.name !== 'cold') continue
      scenario.measurements = scenario.measurements
        .filter(({ target, mode }) => target === 'service' || mode === 'latency')
    }
    find(result, 'cold', 'service', 'latency').serverCpuPerRequest = 14.1 * 1.6 * 2.5
    t.equal(findRow(toMarkdown(result), 'cold read, from SQLite', 'service')?.[8], '2.50')
  })

  t.test('lists bound, actual value and outcome of each budget, after the reasons why a run did not pass', async t => {
    const markdown = toMarkdown(createBadResult())
    t.ok(markdown.startsWith(['# Bench: invalid', '',
      '30 of 33 budgets kept, 12 of 13 scenarios valid, full run of 12 min 11 s.', '',
      '- Redis killed in mid-run: the run is not valid: 17 unexpected answers',
      '- Redis killed in mid-run: the run is not valid: the generator was saturated',
      '- cached read, v1: CPU per request, ratio to bare: 2.348 ×, budget ≤ 1.6 ×', '',
      'Run again after a breach, with the figures of the second run: cached read, v1.'
    ].join('\n')), markdown.slice(0, 600))
    t.strictSame(findRow(markdown, 'cached read, v1', 'CPU per request, ratio to bare'),
      ['cached read, v1', 'CPU per request, ratio to bare', '≤ 1.6 ×', '2.348 ×', '**broken**'])
    t.equal(findRow(markdown, 'cached read, v1', 'errors')?.at(-1), 'kept')
    t.equal(findRow(markdown, 'cached read, v1', 'P95, ratio to bare')?.at(-1), 'reported')
    t.equal(findRow(markdown, 'Redis killed in mid-run', 'errors')?.at(-1), 'not valid',
      'a kept budget of an invalid run does not count')
    t.ok(findRow(markdown, 'Redis killed in mid-run (not valid)', 'service'))
  })

  t.test('lists the peers that could not be measured', async t => {
    const result = createSampleResult()
    if (result.scenarios[0]) result.scenarios[0].absent = ['pg-boss: no Postgres here']
    t.match(toMarkdown(result), '\n\n- cached read, v1: not measured: pg-boss: no Postgres here\n\n')
  })

  t.test('shows a lower bound and a missing value', async t => {
    const result = createSampleResult()
    const rule = 'capacity, ratio to bullmq'
    result.verdicts = [
      { scenario: 'cold', rule, bound: 4, direction: 'min', actual: null, unit: '×', outcome: 'broken' }
    ]
    t.strictSame(findRow(toMarkdown(result), 'cold read, from SQLite', rule)?.slice(2),
      ['≥ 4 ×', 'not measured', '**broken**'])
  })

  t.test('aligns the columns, and escapes text that would end a cell or start a tag', async t => {
    const result = createSampleResult()
    for (const scenario of result.scenarios) scenario.title = '<img src=x> | a\n![b](http://c) *d* &amp; 1 < 2'
    const tables = toMarkdown(result).split('\n\n').filter(block => block.startsWith('|'))
      .map(table => table.split('\n'))
    t.equal(tables.length, 2)
    for (const lines of tables) {
      t.equal(new Set(lines.map(({ length }) => length)).size, 1)
      t.equal(new Set(lines.map(line => line.split(/(?<!\\)\|/).length)).size, 1)
    }
    t.match(tables[0]?.[2], '| \\<img src=x> \\| a !\\[b\\](http://c) \\*d\\* \\&amp; 1 < 2 ')
  })
})

t.test('JUnit', async t => {
  type Element = { name: string, attribs: Record<string, string>, children: Element[], data?: string }
  const parse = (xml: string) => parseDocument(xml, { xmlMode: true }).children as unknown as Element[]
  const elements = (parent: Element | undefined) => (parent?.children ?? []).filter(({ name }) => name)
  const suitesOf = (result: SuiteResult) => {
    const [root] = parse(toJunit(result)).filter(({ name }) => name === 'testsuites')
    return { root, suites: elements(root) }
  }
  const casesOf = (result: SuiteResult, name: string) =>
    elements(suitesOf(result).suites.find(({ attribs }) => attribs.name === name))

  t.test('contains a suite for each scenario, with a case for each enforced budget and for the valid run', async t => {
    const result = createSampleResult()
    const { root, suites } = suitesOf(result)
    t.strictSame(suites.map(({ name, attribs }) => [name, attribs.name]),
      result.scenarios.map(({ name }) => ['testsuite', name]))
    t.match(root?.attribs, { tests: '46', failures: '0', skipped: '0', time: '731', timestamp: result.startedAt })
    const cases = casesOf(result, 'cached-v1')
    t.strictSame(cases.map(({ attribs, children }) => [attribs.classname, attribs.name, children.length]), [
      ['cached-v1', 'valid run', 0], ['cached-v1', 'P95 at the fixed rate ≤ 50 ms', 0],
      ['cached-v1', 'errors ≤ 0', 0], ['cached-v1', 'CPU per request, ratio to bare ≤ 1.6 ×', 0]
    ])
  })

  t.test('fails the case of a broken budget; an invalid run fails its own case and skips the others', async t => {
    const result = createBadResult()
    const { root, suites } = suitesOf(result)
    t.match(root?.attribs, { tests: '46', failures: '2', skipped: '2' })
    const cached = suites.find(({ attribs }) => attribs.name === 'cached-v1')
    t.match(cached?.attribs, { tests: '4', failures: '1', skipped: '0' })
    const [failure] = elements(casesOf(result, 'cached-v1')[3])
    t.match(failure, {
      name: 'failure', attribs: { type: 'breach', message: 'CPU per request, ratio to bare: 2.348 ×, budget ≤ 1.6 ×' }
    })
    const [valid, ...others] = casesOf(result, 'redis-killed')
    t.match(elements(valid)[0], {
      name: 'failure', attribs: { type: 'invalid', message: '17 unexpected answers; the generator was saturated' }
    })
    t.equal(elements(valid)[0]?.children[0]?.data, '17 unexpected answers\nthe generator was saturated')
    t.strictSame(others.map(each => elements(each).map(({ name }) => name)), [['skipped'], ['skipped']])
  })

  t.test('preserves any text, except characters that XML cannot represent', async t => {
    const hostile = ' <a b="c">&amp;\'"]]>\n\t{é😀} '
    const result = createBadResult()
    const killed = result.scenarios.find(({ name }) => name === 'redis-killed')
    if (killed) killed.invalid = [hostile, 'nul \0, esc \x1b, lone \ud800, \uffff']
    const [valid] = casesOf(result, 'redis-killed')
    const replaced = 'nul \ufffd, esc \ufffd, lone \ufffd, \ufffd'
    t.equal(elements(valid)[0]?.attribs.message, `${hostile}; ${replaced}`)
    t.equal(elements(valid)[0]?.children.map(({ data }) => data).join(''), `${hostile}\n${replaced}`)
    t.notMatch(toJunit(result), /"[^"\n]*\n[^"]*"(?=[ >/])/,
      'a parser replaces a raw line break in an attribute by a space')
  })
})
