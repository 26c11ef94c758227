import t, { type Test } from 'tap'
import { startService } from '../../helpers/service.ts'

const referencesIn = (html: string): string[] => Array.from(html.matchAll(/\b(?:src|href)="([^"]*)"/g), ([, found = '']) => found)

/** The modules that a module imports, by their addresses. */
const importsIn = (text: string, url: string): string[] =>
  Array.from(text.matchAll(/\b(?:from|import\()\s*['"]([\w./@-]+)['"]/g), ([, path = '']) => new URL(path, url).href)

// What a browser asks for under the path of PUBLIC_URL is asked for without it here, as by a proxy.
const startAt = async (t: Test, base: string) => {
  const { url } = await startService(t, { WORKERS: '0', ...base === '' ? {} : { PUBLIC_URL: `https://example.org${base}` } })
  return async (address: string): Promise<Response> => {
    const { origin, pathname, search } = new URL(address, `https://example.org${base}/`)
    t.equal(origin, 'https://example.org', `${address} is on this host`)
    t.ok(pathname.startsWith(`${base}/`), `${address} is under ${base}/`)
    return await fetch(url + pathname.slice(base.length) + search, { redirect: 'manual' })
  }
}

t.test('the page and all its modules come from the service, with or without the path of PUBLIC_URL', async t => {
  for (const base of ['', '/jobs-api']) {
    const get = await startAt(t, base)
    const page = `https://example.org${base}/ui`
    const answer = await get(page)
    t.equal(answer.status, 200)
    t.match(answer.headers.get('content-type'), /^text\/html/)
    const html = await answer.text()
    const waiting = referencesIn(html).map(reference => new URL(reference, page).href)
    t.ok(waiting.length > 10, 'the page names its modules')
    t.match(html, /modulepreload" href="[^"]+\/preact\.mjs"/, 'and the packages that they need')
    t.notMatch(html, /uPlot\.esm|worker\.ts|openapi/, 'but not what is loaded later, or never')
    const seen = new Set<string>()
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (seen.has(next)) continue
      seen.add(next)
      const file = await get(next)
      t.equal(file.status, 200, next)
      t.match(file.headers.get('cache-control'), /immutable/)
      const text = await file.text()
      if (!/javascript/.test(file.headers.get('content-type') ?? '')) continue
      t.notMatch(text, /^(import type|export type|interface) /m, `${next} has no types`)
      waiting.push(...importsIn(text, next))
    }
    t.ok([...seen].some(name => name.endsWith('/libraries/preact/preact.mjs')), 'the packages are among them')
  }
})

t.test('/ leads to /ui, and /ui/ to it, under the path of PUBLIC_URL too', async t => {
  for (const base of ['', '/jobs-api']) {
    const get = await startAt(t, base)
    for (const path of ['/', '/ui/']) {
      const answer = await get(`${base}${path}`)
      t.equal(answer.status, 302, path)
      t.equal(new URL(answer.headers.get('location') ?? '', `https://example.org${base}${path}`).pathname, `${base}/ui`, path)
    }
  }
})

t.test('the policy of the page and of its files allows no inline script or style, no HTML from text and no other host', async t => {
  const { url } = await startService(t, { WORKERS: '0' })
  const html = await (await fetch(`${url}/ui`)).text()
  t.notMatch(html, /<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=/)
  const [file = ''] = referencesIn(html)
  for (const path of ['/ui', `/${file}`]) {
    const { headers } = await fetch(`${url}${path}`, { method: 'HEAD' })
    const policy = headers.get('content-security-policy') ?? ''
    for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "trusted-types 'none'", "frame-ancestors 'none'"]) {
      t.ok(policy.split('; ').includes(part), part)
    }
    t.notMatch(policy, /unsafe|https?:|\*|data:/)
    t.equal(headers.get('x-content-type-options'), 'nosniff')
    t.equal(headers.get('referrer-policy'), 'no-referrer')
  }
})

t.test('files are compressed for those that accept it, and there are no others', async t => {
  const { url } = await startService(t, { WORKERS: '0' })
  const main = referencesIn(await (await fetch(`${url}/ui`)).text()).find(name => name.includes('/main.')) ?? ''
  const get = (path: string, encoding: string) => fetch(`${url}/${path}`, { headers: { 'accept-encoding': encoding } })
  const plain = await get(main, 'gzip;q=0, br')
  t.equal(plain.headers.get('content-encoding'), null)
  const compressed = await get(main, 'gzip')
  t.equal(compressed.headers.get('content-encoding'), 'gzip')
  t.match(compressed.headers.get('vary'), /Accept-Encoding/)
  // fetch has decompressed it.
  t.equal(await compressed.text(), await plain.text())
  const folder = main.replace(/main\.\w+$/, '')
  for (const path of [`${folder}tsconfig.json`, `${folder}../../../package.json`, `${folder}..%2f..%2fmain.ts`, `${folder}state`, 'ui/x', folder]) {
    t.equal((await get(path, 'gzip')).status, 404, path)
  }
  const ofOtherRelease = await get(main.replace(/ui\/[^/]+/, 'ui/another'), '')
  t.same([ofOtherRelease.status, ofOtherRelease.headers.get('cache-control')], [200, 'no-store'], 'not kept')
})

t.test('the page names the command that prints a token, except in production and for tokens of an issuer', async t => {
  const htmlOf = async (env: Record<string, string>) => {
    const { url } = await startService(t, { WORKERS: '0', ...env }, `${t.testdirName}.${Object.keys(env).join('.')}.db`)
    return await (await fetch(`${url}/ui`)).text()
  }
  t.match(await htmlOf({}), /data-token-command="npm run --silent token -- --sub me --scope &quot;jobs:read [^"]*"/)
  t.notMatch(await htmlOf({ NODE_ENV: 'production', PUBLIC_URL: 'https://example.org' }), /data-token-command/)
})
