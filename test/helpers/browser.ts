import { mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'
import { findOnPath } from '../../scripts/services.ts'

/*
 * The page in the Chromium of the system, watched for everything that a text of others could do to it.
 */

const options = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'
]
// It only ends a hang. A hundred megabytes are hashed in the page, and coverage makes its code several times slower.
const waitMsMax = 120_000
const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** What runs in the page before its own modules: notes what its policy forbids, and what blobs it makes. */
const watch = (): void => {
  const page = globalThis as unknown as Watched & {
    addEventListener: (name: string, listener: (event: { violatedDirective: string, blockedURI: string }) => void) => void
  }
  page.violations = []
  page.blobTypes = []
  page.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    page.violations.push(`${violatedDirective} ${blockedURI}`)
  })
  const { createObjectURL } = URL
  URL.createObjectURL = blob => {
    page.blobTypes.push(blob.type)
    return createObjectURL.call(URL, blob)
  }
}

type Watched = { violations: string[], blobTypes: string[] }

type AxeResults = { violations: Array<{ id: string, help: string, nodes: Array<{ html: string, failureSummary?: string }> }> }

/** A page, and what was noticed in it. */
export type WatchedPage = {
  page: Page
  /** What must be empty at the end: violations of the policy, requests to others, errors, dialogs, further documents. */
  faults: () => Promise<string[]>
  /** The types of the blobs that the page made. */
  blobTypes: () => Promise<string[]>
  /** What axe-core finds wrong. */
  axe: () => Promise<string[]>
}

/** Starts the browser, which ends with the test. */
export const openBrowser = async (t: Test): Promise<Browser> => {
  const executablePath = findOnPath('chromium')
  if (executablePath === undefined) throw new Error('chromium is missing: `npm test -- test/ui` installs it as root on Debian')
  const browser = await chromium.launch({ executablePath, args: options })
  t.teardown(() => browser.close())
  return browser
}

// Chromium reports coverage like Node, by offsets in the text of a module; the types were replaced by blanks, so they are
// those of the source. An address like /ui/<version>/ui/state/job.ts names src/ui/state/job.ts.
const saveCoverage = async (page: Page): Promise<void> => {
  const folder = process.env.NODE_V8_COVERAGE
  if (folder === undefined || page.isClosed()) return
  const entries = await page.coverage.stopJSCoverage()
  const result = entries.flatMap(({ url, scriptId, functions }) => {
    const path = /\/ui\/[\w-]{16}\/((?:ui|client)\/.+\.ts)$/.exec(url)?.[1]
    return path === undefined ? [] : [{ scriptId, url: pathToFileURL(resolve('src', path)).href, functions }]
  })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `coverage-${process.pid}-page-${pages++}.json`), JSON.stringify({ result }))
}
let pages = 0

/** Opens a page of the service at `url`, for instance `http://127.0.0.1:3000/ui#/`. */
export const openPage = async (
  t: Test, browser: Browser, url: string, contextOptions: BrowserContextOptions = {}
): Promise<WatchedPage> => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...contextOptions })
  context.setDefaultTimeout(waitMsMax)
  const page = await context.newPage()
  const { origin } = new URL(url)
  const noticed: string[] = []
  let documents = 0
  page.on('dialog', dialog => {
    noticed.push(`dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on('pageerror', error => { noticed.push(`error: ${error.message}`) })
  page.on('popup', popup => { noticed.push(`popup: ${popup.url()}`) })
  page.on('request', request => {
    const target = request.url()
    if (!target.startsWith(`${origin}/`) && !target.startsWith(`blob:${origin}/`)) noticed.push(`request: ${target}`)
    if (request.isNavigationRequest() && ++documents > 1) noticed.push(`navigation: ${target}`)
  })
  page.on('console', message => {
    // The browser reports each failed request; tests cause some on purpose.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) noticed.push(message.text())
  })
  await page.addInitScript(watch)
  await page.addInitScript({ path: axePath })
  if (process.env.NODE_V8_COVERAGE !== undefined) await page.coverage.startJSCoverage()
  t.teardown(async () => {
    await saveCoverage(page)
    await context.close()
  })
  await page.goto(url)
  const watched = async () => await page.evaluate(() => {
    const { violations, blobTypes } = globalThis as unknown as Watched
    return { violations, blobTypes }
  })
  return {
    page,
    faults: async () => [...noticed, ...(await watched()).violations],
    blobTypes: async () => (await watched()).blobTypes,
    axe: async () => {
      const { violations } = await page.evaluate(async () =>
        await (globalThis as unknown as { axe: { run: () => Promise<AxeResults> } }).axe.run())
      return violations.flatMap(({ id, help, nodes }) => nodes.map(({ html, failureSummary }) => `${id} (${help}): ${html} ${failureSummary ?? ''}`))
    }
  }
}
