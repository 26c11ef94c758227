import t from 'tap'
import { openBrowser, openPage } from '../helpers/browser.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'
import { token, type TokenClaims } from '../helpers/tokens.ts'
import type { WatchedPage } from '../helpers/browser.ts'

/*
 * The page in Chromium, on a real service. Its tests share one browser; each has a page of its own.
 */

const service = await startService(t, { WORKERS: '0' })
const worker = createWorkerClient(service)
const browser = await openBrowser(t)
const claims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work' }

/** Enters a token as a user does. */
const enterToken = async ({ page }: WatchedPage, more: TokenClaims = {}): Promise<void> => {
  await page.getByLabel('Bearer token').fill(token({ ...claims, ...more }))
  await page.getByRole('button', { name: 'Use the token' }).click()
}

const rowOf = ({ page }: WatchedPage, jobId: string) => page.locator(`[data-id="${jobId}"]`)

t.test('a submitted job appears in the table and reaches 100 % without a reload', async t => {
  const opened = await openPage(t, browser, `${service.url}/ui`)
  await enterToken(opened)
  await opened.page.locator('[data-state="live"]').waitFor()
  const jobId = await service.submit('live', { text: 'x' }, { claims })
  const row = rowOf(opened, jobId)
  await row.getByText('queued').waitFor()
  const { leaseToken } = await worker.claimed('live')
  await worker.report(jobId, 'progress', leaseToken, { percent: 40 })
  await row.getByText('40 %').waitFor()
  await worker.report(jobId, 'complete', leaseToken, { result: { done: true } })
  await row.getByText('100 %').waitFor()
  await row.getByText('succeeded').waitFor()
  t.same(await opened.faults(), [])
  t.same(await opened.axe(), [])
})
