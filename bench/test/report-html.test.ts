import { parseDocument, DomUtils } from 'htmlparser2'
import t from 'tap'
import { toHtml } from '../report/html.ts'
import type { SuiteResult } from '../result.ts'
import { createSampleResult } from './sample-result.ts'

const parse = async (result: SuiteResult) => {
  const html = await toHtml(result)
  const document = parseDocument(html)
  const all = (name: string) => DomUtils.getElementsByTagName(name, document)
  const byClass = (name: string) => all('*').filter(({ attribs }) => attribs.class?.split(' ').includes(name))
  const text = (element: Parameters<typeof DomUtils.textContent>[0]) =>
    DomUtils.textContent(element).replace(/\s+/g, ' ').trim()
  const curves = () => JSON.parse(text(DomUtils.getElementById('curves', document) ?? [])) as {
    decades: number[]
    curves: { name: string, isService: boolean, us: (number | null)[] }[]
    limit: { us: number, decade: number } | null
  }
  return { html, all, byClass, text, curves }
}

t.test('loads no resources: no element has a URL, no style an import', async t => {
  const { all, html } = await parse(createSampleResult())
  const loading = ['src', 'href', 'srcset', 'action', 'data', 'poster', 'background']
  t.strictSame(all('*').flatMap(({ name, attribs }) =>
    loading.filter(each => each in attribs).map(each => `${name} ${each}`)), [])
  t.equal(all('link').length, 0)
  t.notMatch(html.replace(/<script[\s\S]*?<\/script>/g, ''), /url\(|@import|https?:/)
  t.match(all('meta').map(({ attribs }) => attribs.content), [undefined, /width=device-width/, /^default-src 'none'/])
  t.match(html, 'var uPlot=', 'the page contains the chart library')
})

t.test('escapes texts of the result that would create an element or end a script', async t => {
  const plain = await parse(createSampleResult())
  const hostile = '</script><script>alert(1)</script><img src=x onerror=alert(1)>"\'&<!--'
  const result = createSampleResult()
  result.commit = result.machine.cpu = hostile
  if (result.scenarios[0]) result.scenarios[0].absent = [hostile]
  result.startedAt = hostile
  result.versions = { ...result.versions, [hostile]: hostile }
  for (const scenario of result.scenarios) {
    scenario.title = hostile
    for (const measurement of scenario.measurements) if (measurement.target === 'bullmq') measurement.target = hostile
  }
  for (const verdict of result.verdicts) Object.assign(verdict, { rule: verdict.rule + hostile, unit: hostile })
  const page = await parse(result)
  t.notMatch(page.html, '<script>alert')
  t.notMatch(page.html, '<img')
  delete result.scenarios[0]?.absent
  t.strictSame((await parse(result)).all('*').map(({ name, attribs }) => [name, attribs.class, attribs.onerror]),
    plain.all('*').map(({ name, attribs }) => [name, attribs.class, attribs.onerror]))
  t.equal(page.curves().curves[0]?.name, hostile, 'the script of the page receives the text unchanged')
  result.scenarios[0]?.invalid.push(hostile)
  t.equal(page.all('script').length, (await parse(result)).all('script').length)
})

t.test('shows outcome, machine and versions in the header', async t => {
  const result = createSampleResult()
  const { all, text, byClass } = await parse(result)
  const head = text(all('header'))
  const expected = ['Passed', '33 of 33 budgets kept', result.machine.cpu, 'redis 7.0.15', 'c422c85b898f']
  for (const words of expected) t.match(head, words)
  t.match(await toHtml({ ...result, commit: `${result.commit}-dirty` }), '<dd>c422c85b898f-dirty</dd>')
  t.equal(byClass('reasons').length, 0)
  t.equal(byClass('passed').length, 1)
  result.outcome = 'breach'
  Object.assign(result.verdicts[0] ?? {}, { actual: 61.2, outcome: 'broken' })
  const breach = await parse(result)
  t.match(breach.text(breach.all('header')), 'Budget broken')
  t.equal(breach.text(breach.byClass('reasons')), 'cached read, v1: P95 at the fixed rate: 61.2 ms, budget ≤ 50 ms')
})

t.test('draws a bar for each scenario and other target, as long as its ratio, with the budget as a tick', async t => {
  const result = createSampleResult()
  for (const verdict of result.verdicts) {
    if (verdict.scenario !== 'tokens' || !verdict.rule.startsWith('CPU')) continue
    Object.assign(verdict, { bound: 1.4, outcome: 'broken' })
  }
  const { byClass, text } = await parse(result)
  const items = byClass('track').map(track => {
    const style = (name: string) =>
      DomUtils.getElementsByClassName(name, track).map(({ attribs }) => attribs.style).join()
    const item = track.parent && 'attribs' in track.parent ? track.parent : undefined
    return { words: text(item ?? []), kind: item?.attribs.class, bar: style('bar'), tick: style('budget') }
  })
  t.equal(items.length, result.scenarios.length + 6)
  const find = (name: string) => items.find(({ words }) => words.startsWith(name))
  t.strictSame(find('cached read, v1'), {
    words: 'cached read, v11.53 ×budget 1.60', kind: 'of-service', bar: 'width:15.32%', tick: 'left:16.00%'
  })
  t.strictSame(find('200 distinct tokens'), {
    words: '200 distinct tokens1.55 ×over budget 1.40',
    kind: 'of-service over',
    bar: 'width:15.53%',
    tick: 'left:14.00%'
  })
  t.strictSame(find('bulk'), {
    words: 'bulk of 100 ids21.99 ×longer than shown', kind: 'of-service beyond', bar: 'width:100.00%', tick: ''
  })
  t.strictSame(items.slice(-6).map(({ kind, bar }) => [kind, bar]),
    ['10.00', '15.46', '17.45', '58.44', '83.83', '97.09'].map(width => ['of-other', `width:${width}%`]),
    'in the order of their ratios')
})

t.test('draws latencies of the fixed rate by percentile, up to the percentile that the samples allow', async t => {
  const result = createSampleResult()
  const { curves: read } = await parse(result)
  const { decades, curves, limit } = read()
  t.strictSame(curves.map(({ name }) => name), [...result.scenarios.map(({ title }) => title), 'bare',
    'bare-jwt', 'bullmq', 'express-sqlite', 'pg-boss', 'healthy (Redis down from the start)'])
  const measurement = result.scenarios[0]?.measurements.find(({ mode }) => mode === 'latency')
  const at = (decade: number) => curves[0]?.us[decades.indexOf(decade)]
  t.strictSame([at(2), at(3)], [measurement?.p99, measurement?.p999])
  const bulk = curves.find(({ name }) => name.startsWith('bulk'))
  const last = decades.filter((_, at) => bulk?.us[at] != null).at(-1)
  t.equal(last, 3.6, '4,000 responses end at the 99.975th percentile')
  for (const { us } of curves) {
    const known = us.filter(value => value !== null)
    t.strictSame(known, known.toSorted((a, b) => a - b))
  }
  t.match(limit, { us: 50_000, decade: Math.log10(20) })
})

t.test('shows the run on a deployed service without ratios and bars', async t => {
  const result = createSampleResult()
  result.mode = 'remote'
  result.commit = null
  result.scenarios = result.scenarios.slice(0, 2)
  for (const scenario of result.scenarios) {
    scenario.measurements = scenario.measurements
      .filter(({ target, mode }) => target === 'service' && mode === 'latency')
    for (const measurement of scenario.measurements) measurement.serverCpuPerRequest = null
  }
  result.verdicts = []
  const { byClass, curves, html } = await parse(result)
  t.equal(byClass('track').length, 0)
  t.match(html, 'The CPU of the server was not measured')
  t.equal(curves().curves.length, 2)
  t.equal(curves().limit, null)
  for (const { measurements } of result.scenarios) for (const measurement of measurements) measurement.histogram = ''
  const { html: bare } = await parse(result)
  t.match(bare, 'No latencies were measured')
  t.notMatch(bare, '<script')
})
