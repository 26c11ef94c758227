import type { Browser, BrowserContextOptions, Locator } from 'playwright-core'
import type { Test } from 'tap'
import { openPage, type WatchedPage } from '../helpers/browser.ts'
import type { Client, WorkerClient } from '../helpers/client.ts'
import { token, type TokenClaims } from '../helpers/tokens.ts'

/*
 * What users of the page do in every test of it.
 */

export const claims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work' }

/** Enters a token as a user does. */
export const enterToken = async ({ page }: WatchedPage, more: TokenClaims = {}): Promise<void> => {
  await page.getByLabel('Bearer token').fill(token({ ...claims, ...more }))
  await page.getByRole('button', { name: 'Use the token' }).click()
}

export const isLive = ({ page }: WatchedPage): Promise<void> => page.locator('.connection[data-state="live"]').waitFor()

export const rowOf = ({ page }: WatchedPage, jobId: string): Locator => page.locator(`[data-id="${jobId}"]`)

/** Opens the page at a place, with a token. */
export const createOpen = (browser: Browser, { url }: Pick<Client, 'url'>) => async (
  t: Test, place = '', more: TokenClaims = {}, options: BrowserContextOptions = {}
): Promise<WatchedPage> => {
  const opened = await openPage(t, browser, `${url}/ui${place}`, options)
  await enterToken(opened, more)
  return opened
}

/** Runs a job to its end. */
export const createFinish = (service: Client, worker: WorkerClient) => async (type: string, body: unknown): Promise<string> => {
  const { jobId } = await service.askJson('/api/v1/jobs', { method: 'POST', claims, body: { type, input: { n: 1 } } })
  const { leaseToken } = await worker.claimed(type)
  await worker.report(jobId, 'complete', leaseToken, body)
  return jobId as string
}
