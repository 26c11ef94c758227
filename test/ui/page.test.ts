import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import t from 'tap'
import { openBrowser, openPage, type WatchedPage } from '../helpers/browser.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { freePort } from '../helpers/redis.ts'
import { spawnService, startService } from '../helpers/service.ts'
import { secret, token, type TokenClaims } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { insertRows } from '../http/rows.ts'

/*
 * The page in Chromium, on a real service. Its tests share one browser; each has a page of its own.
 */

const run = promisify(execFile)
const receiver = await startReceiver(t, (response, _received, count) => { response.writeHead(count === 1 ? 500 : 204).end() })
const service = await startService(t, { WORKERS: '0', CALLBACK_HOSTS_ALLOWED: '127.0.0.1' })
const worker = createWorkerClient(service)
const browser = await openBrowser(t)
const claims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work' }
const adminClaims: TokenClaims = { scope: 'jobs:read jobs:write jobs:admin' }

/** Enters a token as a user does. */
const enterToken = async ({ page }: WatchedPage, more: TokenClaims = {}): Promise<void> => {
  await page.getByLabel('Bearer token').fill(token({ ...claims, ...more }))
  await page.getByRole('button', { name: 'Use the token' }).click()
}

const isLive = ({ page }: WatchedPage) => page.locator('.connection[data-state="live"]').waitFor()
const rowOf = ({ page }: WatchedPage, jobId: string) => page.locator(`[data-id="${jobId}"]`)

/** Opens the page at a place, with a token. */
const open = async (t: Parameters<typeof openPage>[0], place = '', more: TokenClaims = {}, options = {}): Promise<WatchedPage> => {
  const opened = await openPage(t, browser, `${service.url}/ui${place}`, options)
  await enterToken(opened, more)
  return opened
}

/** Runs a job to its end. */
const finish = async (type: string, body: unknown, more: Record<string, unknown> = {}): Promise<string> => {
  const answer = await service.askJson('/api/v1/jobs', { method: 'POST', claims, body: { type, input: { n: 1 }, ...more } })
  const { leaseToken } = await worker.claimed(type)
  await worker.report(answer.jobId, 'complete', leaseToken, body)
  return answer.jobId as string
}

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

t.test('a job shows its runs with their reasons, its failure and its callbacks, which can be sent again', async t => {
  const { jobId } = await service.askJson('/api/v1/jobs', {
    method: 'POST', claims, body: { type: 'story', input: { digits: 1 }, callbackUrl: `${receiver.url}/hook` }
  })
  const opened = await open(t, `#/jobs/${jobId}`)
  const { page } = opened
  await page.getByText('Submitted').waitFor()
  await page.getByLabel('Preview of the input').getByText('{"digits":1}').waitFor()
  const first = await worker.claimed('story')
  await page.getByText('Attempt 1 claimed').waitFor()
  await worker.report(jobId, 'progress', first.leaseToken, { done: 3, total: 10, stage: 'reading', message: 'page 3' })
  await page.getByText('reading · 3 of 10').waitFor()
  await worker.report(jobId, 'fail', first.leaseToken, { error: { code: 'E_NET', message: 'no route' } })
  await page.getByText('Queued again for a retry').waitFor()
  const second = await worker.claimed('story', { wait: 10 })
  await worker.report(jobId, 'fail', second.leaseToken, { error: { code: 'E_DISK', message: 'full', details: { free: 0 } }, retryable: false })
  await page.getByText('Job failed').waitFor()
  await page.locator('[aria-label="Failure"]').getByText('E_DISK').waitFor()
  await page.locator('[aria-label="Timeline"]').getByText('no route').waitFor()
  const callbacks = page.locator('[aria-label="Callbacks"]')
  await callbacks.getByText('/hook').waitFor()
  await receiver.arrived(1)
  await callbacks.getByRole('button', { name: 'Send again' }).click()
  await receiver.arrived(2)
  t.same(await opened.faults(), [])
  t.same(await opened.axe(), [])
})

t.test('cancelling and erasing ask first', async t => {
  const jobId = await service.submit('unwanted', 1, { claims })
  const opened = await open(t, `#/jobs/${jobId}`)
  const { page } = opened
  await page.getByRole('button', { name: 'Cancel …' }).click()
  await page.getByRole('button', { name: 'Keep it' }).click()
  t.match(await (await service.ask(`/api/v1/jobs/${jobId}`, { claims })).text(), /"Queued"/)
  await page.getByRole('button', { name: 'Cancel …' }).click()
  await page.getByRole('button', { name: 'Cancel the job' }).click()
  await page.getByText('Job cancelled').waitFor()
  await page.getByRole('button', { name: 'Erase …' }).click()
  await page.getByRole('button', { name: 'Erase the job' }).click()
  await page.getByText('This job was erased').waitFor()
  t.equal((await service.ask(`/api/v1/jobs/${jobId}`, { claims })).status, 410)
  t.same(await opened.faults(), [])
})

t.test('a token without jobs:write shows no command', async t => {
  const jobId = await service.submit('looked-at', 1, { claims })
  const opened = await open(t, `#/jobs/${jobId}`, { scope: 'jobs:read' })
  await opened.page.getByText('Submitted').waitFor()
  t.equal(await opened.page.getByRole('button', { name: 'Cancel …' }).count(), 0)
  t.same(await opened.faults(), [])
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

const attack = '<img src=x onerror="globalThis.pwned=1"><script>globalThis.pwned=1</script>'
const svg = '<svg xmlns="http://www.w3.org/2000/svg" onload="globalThis.pwned=1"><script>globalThis.pwned=1</script></svg>'

t.test('names, inputs, messages and results that attack the page run nothing and leave it alone', async t => {
  await insertRows(service, {
    jobId: 'hostile-row',
    status: 'Failed',
    tenant: 'tester',
    type: attack,
    errorDetails: JSON.stringify({ code: attack, message: `${attack}\u202e`, details: { attack } })
  })
  const uploads: Array<[type: string, name: string, body: string]> = [
    ['text/html', '"><img src=x onerror=alert(1)>.html', `<!doctype html>${attack}`],
    ['image/svg+xml', 'a.svg', svg],
    ['image/png', 'fake.png', `<!doctype html>${attack}`],
    ['application/x-unknown', '../../a.html', attack]
  ]
  const jobs: string[] = []
  for (const [type, name, body] of uploads) {
    const jobId = await service.submit('hostile', { attack, toString: attack }, { claims })
    const { leaseToken } = await worker.claimed('hostile')
    await worker.report(jobId, 'progress', leaseToken, { stage: attack, message: attack })
    await worker.upload(jobId, leaseToken, 0, body, {
      headers: { 'content-type': type, 'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}` }
    })
    await worker.report(jobId, 'complete', leaseToken, {})
    jobs.push(jobId)
  }
  const opened = await open(t)
  const { page } = opened
  await rowOf(opened, 'hostile-row').getByText('onerror').waitFor()
  await page.goto(`${service.url}/ui#/jobs/hostile-row`)
  await page.locator('[aria-label="Failure"] code').getByText('onerror').waitFor()
  for (const jobId of jobs) {
    await page.goto(`${service.url}/ui#/jobs/${jobId}`)
    await page.getByLabel('Preview of the input').getByText('onerror').waitFor()
    const saving = page.waitForEvent('download')
    await page.locator('[aria-label="Result"]').getByRole('button', { name: 'Download' }).click()
    const saved = await (await saving).path()
    t.match(await readFile(saved, 'utf8'), /pwned/, 'the bytes are saved as they are')
  }
  t.same((await opened.blobTypes()).filter(type => type !== 'application/octet-stream'), ['image/png'], 'no blob can be displayed but an image')
  t.equal(await page.evaluate(() => (globalThis as { pwned?: number }).pwned), undefined)
  t.equal(await page.locator('main script, main iframe, main object, main embed, main img:not(.preview)').count(), 0)
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
