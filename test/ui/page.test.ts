import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { openBrowser, openPage } from '../helpers/browser.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { freePort } from '../helpers/redis.ts'
import { spawnService, startService } from '../helpers/service.ts'
import { secret, token, type TokenClaims } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { claims, createFinish, createOpen, enterToken, isLive, rowOf } from './users.ts'

/*
 * The page in Chromium, on a real service. Its tests share one browser; each has a page of its own.
 */

const run = promisify(execFile)
const service = await startService(t, { WORKERS: '0' })
const worker = createWorkerClient(service)
const browser = await openBrowser(t)
const adminClaims: TokenClaims = { scope: 'jobs:read jobs:write jobs:admin' }
const open = createOpen(browser, service)
const finish = createFinish(service, worker)

t.test('a submitted job appears in the table and reaches 100 % without a reload', async t => {
  const opened = await open(t)
  await isLive(opened)
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
})

t.test('filters are those of the service, stay in the address, and jobs leave them as they change', async t => {
  const [first, second] = [await service.submit('filtered', 1, { claims }), await service.submit('other', 2, { claims })]
  const opened = await open(t, '#/?state=queued&type=filtered')
  await rowOf(opened, first).waitFor()
  t.equal(await rowOf(opened, second).count(), 0)
  await service.ask(`/api/v1/jobs/${first}/cancel`, { method: 'POST', claims })
  await rowOf(opened, first).waitFor({ state: 'detached' })
  await opened.page.getByLabel('cancelled').check()
  await rowOf(opened, first).waitFor()
  t.match(opened.page.url(), /state=queued%2Ccancelled/)
  await opened.page.getByRole('combobox', { name: 'Type' }).fill('')
  await opened.page.getByRole('combobox', { name: 'Type' }).press('Enter')
  await opened.page.getByLabel('Id begins with').fill(second.slice(0, 20))
  // A repaint for something else leaves what is being typed.
  const third = await service.submit('other', 3, { claims })
  await rowOf(opened, third).waitFor()
  t.equal(await opened.page.getByLabel('Id begins with').inputValue(), second.slice(0, 20))
  await opened.page.getByLabel('Id begins with').press('Enter')
  await rowOf(opened, second).waitFor()
  await rowOf(opened, first).waitFor({ state: 'detached' })
  await opened.page.getByText('Columns').click()
  await opened.page.getByLabel('age').uncheck()
  await opened.page.reload()
  await rowOf(opened, second).waitFor()
  t.equal(await opened.page.getByRole('columnheader', { name: 'Age' }).count(), 0, 'a hidden column stays hidden')
  t.same((await opened.faults()).filter(fault => !fault.startsWith('navigation')), [])
})

t.test('an expired token is asked for again, and the page goes on where it was', async t => {
  const jobId = await service.submit('expiring', 1, { claims })
  const opened = await open(t, `#/jobs/${jobId}`, { expiresIn: 3000 })
  const { page } = opened
  await page.getByRole('alert').getByText(/expired/).waitFor()
  const { leaseToken } = await worker.claimed('expiring')
  await worker.report(jobId, 'complete', leaseToken, { result: 7 })
  await enterToken(opened)
  await page.getByText('Job succeeded').waitFor()
  t.match(page.url(), new RegExp(`#/jobs/${jobId}$`))
  await page.locator('.token summary').click()
  await page.getByText('jobs:work').waitFor()
  await page.getByRole('button', { name: 'Forget the token' }).click()
  await page.getByLabel('Bearer token').fill('not.a.token')
  await page.getByRole('button', { name: 'Use the token' }).click()
  await page.getByText('This is not a token').waitFor()
  await page.getByText('npm run --silent token').waitFor()
  t.same(await opened.axe(), [])
  t.same(await opened.faults(), [])
})

t.test('after a restart of the service the table goes on without a reload', async t => {
  const port = await freePort()
  const databasePath = `${t.testdir()}/jobs.db`
  const env = { WORKERS: '0', PORT: String(port) }
  const before = await spawnService(t, env, databasePath)
  const first = await before.submit('before', 1, { claims })
  const opened = await openPage(t, browser, `${before.url}/ui`)
  await enterToken(opened)
  await rowOf(opened, first).waitFor()
  await isLive(opened)
  await before.kill('SIGTERM')
  await opened.page.locator('.connection[data-state="waiting"]').waitFor()
  const after = await spawnService(t, env, databasePath)
  const second = await after.submit('after', 2, { claims })
  await rowOf(opened, second).waitFor()
  await isLive(opened)
  t.equal(await rowOf(opened, first).count(), 1)

  // Places of before mean nothing to a database that was restored, so the jobs are listed again.
  await after.kill('SIGTERM')
  await opened.page.locator('.connection[data-state="waiting"]').waitFor()
  await run(process.execPath, ['scripts/renew-incarnation.ts'], {
    env: { ...process.env, DATABASE_URL: `sqlite:${databasePath}`, JWT_SECRET: secret }
  })
  await after.sql(`DELETE FROM JobExecutionLog WHERE jobId = '${first}'`)
  const restored = await spawnService(t, env, databasePath)
  await rowOf(opened, first).waitFor({ state: 'detached' })
  const third = await restored.submit('restored', 3, { claims })
  await rowOf(opened, third).waitFor()
  t.same(await opened.faults(), [])
})

t.test('a token of another tenant shows the jobs of that tenant, and nothing of the one before', async t => {
  const [own, foreign] = [await service.submit('own', 1, { claims }), await service.submit('own', 1, { claims: { ...claims, sub: 'neighbour' } })]
  const opened = await open(t, '#/?type=own')
  await rowOf(opened, own).waitFor()
  await opened.page.locator('.token summary').click()
  await opened.page.getByRole('button', { name: 'Forget the token' }).click()
  await rowOf(opened, own).waitFor({ state: 'detached' })
  await enterToken(opened, { sub: 'neighbour' })
  await rowOf(opened, foreign).waitFor()
  t.equal(await rowOf(opened, own).count(), 0)
  t.same(await opened.faults(), [])
})

t.test('the state of the service goes with the token that could read it', async t => {
  const opened = await open(t, '#/service', adminClaims)
  const { page } = opened
  await page.getByText('Latency of requests').waitFor()
  await page.locator('.token summary').click()
  await page.getByRole('button', { name: 'Forget the token' }).click()
  await page.getByText('Latency of requests').waitFor({ state: 'detached' })
  await enterToken(opened)
  await page.getByText('jobs:admin').waitFor()
  t.equal(await page.getByText('Latency of requests').count(), 0)
  t.same(await opened.faults(), [])
})

t.test('everything can be done with the keyboard alone', async t => {
  const [older, newer] = [await service.submit('keys', 1, { claims }), await service.submit('keys', 2, { claims })]
  const opened = await openPage(t, browser, `${service.url}/ui#/?type=keys`)
  const { keyboard } = opened.page
  await opened.page.getByLabel('Bearer token').waitFor()
  await keyboard.insertText(token(claims))
  await keyboard.press('Enter')
  await rowOf(opened, newer).waitFor()
  const focused = async () => await opened.page.evaluate(() => {
    const { document } = globalThis as unknown as { document: { activeElement: { textContent: string, className: string } | null } }
    return `${document.activeElement?.className ?? ''} ${document.activeElement?.textContent?.trim() ?? ''}`
  })
  const tabTo = async (text: RegExp) => {
    for (let presses = 0; !text.test(await focused()); presses++) {
      if (presses > 40) throw new Error(`no way to ${String(text)} by tab, the focus is on ${await focused()}`)
      await keyboard.press('Tab')
    }
  }
  await tabTo(/^grid /)
  await keyboard.press('ArrowDown')
  await keyboard.press('ArrowDown')
  const selected = opened.page.locator(`[data-id="${older}"][aria-selected="true"]`)
  await selected.waitFor()
  const third = await service.submit('keys', 3, { claims })
  await rowOf(opened, third).waitFor()
  await selected.waitFor()
  t.equal(await opened.page.locator('[aria-selected="true"]').count(), 1, 'the selection stays with its job')
  await keyboard.press('Enter')
  await opened.page.getByText('Submitted').waitFor()
  await tabTo(/Cancel …$/)
  await keyboard.press('Enter')
  await tabTo(/Cancel the job$/)
  await keyboard.press('Enter')
  await opened.page.getByText('Job cancelled').waitFor()
  await tabTo(/All jobs$/)
  await keyboard.press('Enter')
  await rowOf(opened, older).getByText('cancelled').waitFor()
  t.match(await focused(), /^grid /, 'the table has the focus again')
  t.same(await opened.faults(), [])
})

t.test('thousands of jobs are a few dozen elements, loaded as they are scrolled to, up to 2,000', async t => {
  await service.sql(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2300)
    INSERT INTO JobExecutionLog (jobId, status, tenant, type, createdAt)
    SELECT 'many-' || i, 'Succeeded', 'many', 'many', 1760000000000 + i * 1000 FROM n`)
  const opened = await open(t, '', { sub: 'many' })
  const { page } = opened
  await rowOf(opened, 'many-2300').waitFor()
  const grid = page.getByRole('grid')
  t.ok(await page.locator('.body .row').count() < 80)
  for (let isWhole = false; !isWhole; isWhole = await page.getByText('the newest that match').count() > 0) await grid.press('End')
  await grid.press('End')
  await rowOf(opened, 'many-301').waitFor()
  t.ok(await page.locator('.body .row').count() < 80)
  t.equal(await rowOf(opened, 'many-300').count(), 0)
  await page.getByRole('button', { name: 'Hold' }).click()
  await service.sql("INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('newest', 'Running', 'many')")
  await page.getByRole('button', { name: 'Held: 1 changed' }).click()
  await grid.press('Home')
  await rowOf(opened, 'newest').waitFor()
  t.same(await opened.faults(), [])
})

t.test('the service shows its state to admins as plots, and says what others lack', async t => {
  const opened = await open(t, '#/service', adminClaims)
  const { page } = opened
  await page.getByText('Latency of requests').waitFor()
  await until(async () => await page.locator('canvas').count() >= 8, 'the plots')
  await page.locator('[aria-label="Now"]').getByText('sqlite').waitFor()
  t.same(await opened.axe(), [])
  t.same(await opened.faults(), [])
  const other = await open(t, '#/service')
  await other.page.getByText('jobs:admin').waitFor()
  t.same(await other.faults(), [])
})

t.test('the page is accessible in light and dark, wide and narrow, and nothing is cut off', async t => {
  const jobId = await finish('shown', { result: { answer: 42 } })
  await service.submit('shown', 1, { claims })
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of [1280, 360]) {
      const opened = await open(t, '', {}, { colorScheme, viewport: { width, height: 760 } })
      const { page } = opened
      await rowOf(opened, jobId).waitFor()
      const name = `${colorScheme}, ${width} pixels`
      const overflows = () => page.evaluate(() => {
        const { document } = globalThis as unknown as { document: { documentElement: { scrollWidth: number, clientWidth: number } } }
        return document.documentElement.scrollWidth > document.documentElement.clientWidth
      })
      t.same(await opened.axe(), [], `the table, ${name}`)
      t.equal(await overflows(), false, name)
      await page.goto(`${service.url}/ui#/jobs/${jobId}`)
      await page.getByLabel('Preview of the result').waitFor()
      t.same(await opened.axe(), [], `a job, ${name}`)
      t.equal(await overflows(), false, name)
      t.same(await opened.faults(), [], name)
      await page.context().close()
    }
  }
})
