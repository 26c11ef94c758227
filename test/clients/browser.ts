import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import type { Locator, Page, Response } from 'playwright-core'
import { launchChromium } from './installed-chromium.ts'
import { type Operation, readSettings } from './service.ts'

/*
 * "Try it out" of the documentation page, for every operation, media type and example, sent as the page offers it. A
 * request must be sent, and its response must be a documented one that does not reject the request itself.
 */

const { baseUrl, token, document, databasePath } = readSettings()

/** Makes the job of the examples, so that what the page offers for it can be answered. */
const insertExampleJob = (): void => {
  const parameters = Object.values(document.paths).flatMap(methods => Object.values(methods))
    .flatMap(operation => operation.parameters ?? [])
  const jobId = String(parameters.find(({ name }) => name === 'jobId')?.example)
  execFileSync('sqlite3', [databasePath, `
    INSERT INTO JobExecutionLog (jobId, status, resultUrl) VALUES ('${jobId}', 'Succeeded', '${baseUrl}/livez')`])
}

const authorize = async (page: Page): Promise<void> => {
  await page.locator('.scheme-container .authorize').click()
  await page.locator('.dialog-ux input').fill(token)
  await page.locator('.dialog-ux .modal-btn.authorize').click()
  await page.locator('.dialog-ux .btn-done').click()
}

const optionsOf = async (select: Locator): Promise<string[]> =>
  await select.count() === 0
    ? []
    : await select.first().locator('option').evaluateAll(options =>
      options.map(option => (option as HTMLOptionElement).value))

const rejecting = [400, 405, 408, 415, 422, 431]

const execute = async (page: Page, block: Locator, operation: Operation, what: string): Promise<string[]> => {
  const files = block.locator('input[type=file]')
  if (await files.count() > 0) {
    const file = { name: 'a.bin', mimeType: 'application/octet-stream', buffer: Buffer.from('abc') }
    await files.first().setInputFiles(file)
  }
  const isOwn = (response: Response) => !response.url().includes('/docs')
  const answered = page.waitForResponse(isOwn, { timeout: 10_000 }).catch(() => null)
  await block.locator('.execute').click()
  const response = await answered
  if (response === null) return [`${what}: the page sends no request`]
  const shown = block.locator('.live-responses-table tbody .response-col_status').first()
  const status = Number.parseInt(await shown.textContent({ timeout: 10_000 }) ?? '')
  console.log(`${what}: ${status}`)
  const hasPath = operation.parameters?.some(parameter => parameter.in === 'path') === true
  if (!hasPath && status >= 300) return [`${what}: ${status}, although no job is asked for`]
  if (rejecting.includes(status) || status >= 500) return [`${what}: ${status}, so the example is rejected`]
  return Object.hasOwn(operation.responses, String(status)) ? [] : [`${what}: ${status} is not documented`]
}

const tryOut = async (page: Page, operation: Operation, place: string): Promise<string[]> => {
  const block = page.locator(`.opblock[id$="-${operation.operationId}"]`)
  await block.locator('.opblock-summary-control').click()
  await block.locator('.try-out__btn').click()
  const types = block.locator('.opblock-section-request-body select[aria-label="Request content type"]')
  const faults: string[] = []
  for (const type of [undefined, ...(await optionsOf(types)).slice(1)]) {
    if (type !== undefined) await types.first().selectOption(type)
    const examples = block.locator('.opblock-section-request-body .examples-select-element')
    for (const example of [undefined, ...(await optionsOf(examples)).slice(1)]) {
      if (example?.startsWith('__')) continue
      if (example !== undefined) await examples.first().selectOption(example)
      faults.push(...await execute(page, block, operation, [place, type, example].filter(Boolean).join(' ')))
    }
  }
  await block.locator('.opblock-summary-control').click()
  return faults
}

insertExampleJob()
const browser = await launchChromium()
try {
  const page = await browser.newPage()
  const errors: string[] = []
  page.on('pageerror', error => { errors.push(error.message) })
  await page.goto(`${baseUrl}/docs`)
  await authorize(page)
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ place: `${method.toUpperCase()} ${path}`, operation })))
  // Erased last, the job of the examples is there for all others.
  const erases = ({ place }: { place: string }) => Number(place.startsWith('DELETE'))
  for (const { place, operation } of operations.toSorted((a, b) => erases(a) - erases(b))) {
    errors.push(...await tryOut(page, operation, place))
  }
  assert.deepEqual(errors, [])
} finally {
  await browser.close()
}
