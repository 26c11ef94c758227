import { execFileSync } from 'node:child_process'
import t from 'tap'
import { processors } from '../../../src/processors/registry.ts'

/*
 * What a thread loads decides how long the first job of an idle process takes.
 */

const src = new URL('../../../src/', import.meta.url)

/** The URLs of all modules that are loaded with these. */
const loadedWith = (...modules: URL[]): string[] => {
  const script = `
    import { registerHooks } from 'node:module'
    const urls = []
    registerHooks({ load: (url, context, next) => { urls.push(url); return next(url, context) } })
    for (const url of process.argv.slice(1)) await import(url)
    console.log(JSON.stringify(urls))`
  const args = ['--input-type=module', '-e', script, ...modules.map(({ href }) => href)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as string[]
}

const threadOf = (type: string, ...further: string[]): string[] => loadedWith(
  new URL('processors/threads/thread.ts', src), processors.get(type)!.module, ...further.map(path => new URL(path, src))
)

const matching = (urls: readonly string[], pattern: RegExp) => urls.filter(url => pattern.test(url))

t.test('a thread loads nothing that makes schemas, and no driver before it reads', async t => {
  const sanitize = threadOf('sanitize')
  t.ok(matching(sanitize, /sanitize-html/).length > 0, 'all of what a task needs, so that it can be prepared')
  const report = threadOf('report')
  const waiting = loadedWith(new URL('processors/threads/sanitize-thread.ts', src))
  for (const urls of [sanitize, report, waiting]) {
    t.ok(urls.length > 10)
    t.same(matching(urls, /typebox|\/ajv\/|better-sqlite3|kysely|node_modules\/pg\/|registry\.ts|(report|sanitize)\/processor\.ts/), [])
  }
  const reading = threadOf('report', 'store/sqlite/readers/read-only-store.ts')
  t.ok(matching(reading, /better-sqlite3/).length > 0)
  t.same(matching(reading, /typebox|kysely/), [])
})

t.test('a thread loads one build of a package, and of the histograms one', async t => {
  t.same(matching(threadOf('sanitize'), /htmlparser2\/dist\/esm/), [])
  t.same(matching(threadOf('report'), /hdr-histogram-js\/dist\/(index|wasm|HistogramLog)|pako/), [])
})
