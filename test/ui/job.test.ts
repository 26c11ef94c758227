import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import t from 'tap'
import type * as Package from '../../src/client/client.ts'
import { createClient } from '../../src/client/client.ts'
import { memoryBytesMax } from '../../src/ui/state/job/preview.ts'
import { openBrowser, openPage } from '../helpers/browser.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { startProxy } from '../torture/proxy.ts'
import { insertRows } from '../http/rows.ts'
import { claims, createFinish, createOpen, enterToken, isLive, rowOf } from './users.ts'

/*
 * One job in the page, its bytes, and the client of the package in the same browser.
 */

// After a 410 the service itself tries no more.
const receiver = await startReceiver(t, (response, _received, count) => { response.writeHead(count === 1 ? 410 : 204).end() })
const service = await startService(t, { WORKERS: '0', CALLBACK_HOSTS_ALLOWED: '127.0.0.1' })
const worker = createWorkerClient(service)
const browser = await openBrowser(t)
const open = createOpen(browser, service)
const finish = createFinish(service, worker)

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
  const second = await worker.claimed('story', { wait: 50 })
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

/** A file of the origin in place of the one that a user chooses: what is written to it is on the disk too. */
const chooseOwnFile = (): void => {
  const page = globalThis as unknown as Record<string, unknown> & { navigator: { storage: { getDirectory: () => Promise<OwnFolder> } } }
  page.showSaveFilePicker = async ({ suggestedName }: { suggestedName: string }) => {
    const folder = await page.navigator.storage.getDirectory()
    page.savedFile = await folder.getFileHandle(suggestedName, { create: true })
    return page.savedFile
  }
}
type OwnFolder = { getFileHandle: (name: string, options: object) => Promise<unknown> }

t.test('a large result goes to a file while it arrives, on from where its connection was cut', async t => {
  const part = randomBytes(1024 * 1024)
  const parts = Math.ceil(memoryBytesMax / part.length) + 1
  const client = createClient({ url: service.url, token: () => token(claims) })
  let left = parts
  const uploader = client.worker(['large'], () => new ReadableStream({
    pull: controller => {
      if (left-- > 0) controller.enqueue(part)
      else controller.close()
    }
  }))
  const { jobId } = await client.submit('large', {})
  await client.waitFor(jobId)
  await uploader.stop()
  const proxy = await startProxy(Number(new URL(service.url).port))
  t.teardown(proxy.close)
  const opened = await openPage(t, browser, `http://127.0.0.1:${proxy.port}/ui#/jobs/${jobId}`)
  const { page } = opened
  await page.addInitScript(chooseOwnFile)
  await page.reload()
  await enterToken(opened)
  const result = page.locator('[aria-label="Result"]')
  const statuses: number[] = []
  page.on('response', response => { if (response.url().endsWith('/result')) statuses.push(response.status()) })
  proxy.holdAfter('back', 50_000_000)
  await result.getByRole('button', { name: 'Download' }).click()
  await result.getByText(/^[2-5]\d\.\d MB of/).waitFor()
  proxy.cut()
  proxy.delay('back', 0)
  await result.getByText('Saved.').waitFor()
  const saved = await page.evaluate(async () => {
    type File = { name: string, size: number, slice: (from: number, to: number) => { arrayBuffer: () => Promise<ArrayBuffer> } }
    const { savedFile } = globalThis as unknown as { savedFile: { getFile: () => Promise<File> } }
    const file = await savedFile.getFile()
    const bytes = await crypto.subtle.digest('SHA-256', await file.slice(0, file.size).arrayBuffer())
    return { name: file.name, size: file.size, sha256: Array.from(new Uint8Array(bytes)) }
  })
  const expected = createHash('sha256')
  for (let index = 0; index < parts; index++) expected.update(part)
  t.same(saved, { name: 'result', size: parts * part.length, sha256: [...expected.digest()] })
  t.equal(statuses.at(-1), 206, 'it went on')
  t.same(await opened.blobTypes(), [], 'it was never whole in memory')
  t.same((await opened.faults()).filter(fault => !fault.startsWith('navigation')), [])
})

t.test('the client of the package works in a browser', async t => {
  const jobId = await finish('browsed', { result: { text: 'x'.repeat(20_000) } })
  const opened = await open(t)
  await isLive(opened)
  const next = await service.submit('browsed', {}, { claims })
  const { leaseToken } = await worker.claimed('browsed')
  await opened.page.exposeFunction('complete', async () => { await worker.report(next, 'complete', leaseToken, { result: 1 }) })
  const outcome = await opened.page.evaluate(async ({ token, jobId, next }) => {
    const here = globalThis as unknown as {
      document: { querySelector: (selector: string) => { src: string } }
      location: { origin: string }
      complete: () => Promise<void>
    }
    const { src } = here.document.querySelector('script[type=module]')
    const { createClient } = await import(src.replace('ui/main.ts', 'client/client.ts')) as typeof Package
    const client = createClient({ url: here.location.origin, token })
    const seen: Record<string, unknown> = {}
    const first = await client.result(jobId)
    const bytes = await first.arrayBuffer()
    const rest = await client.result(jobId, { offset: bytes.byteLength - 10, eTag: first.headers.get('etag') ?? '' })
    Object.assign(seen, { bytes: bytes.byteLength, status: rest.status, rest: await rest.text() })
    const [task, states, changed] = await Promise.all([
      client.waitFor(next),
      Array.fromAsync(client.events(next), async event => {
        const state = event.kind === 'status' ? event.task.status : event.kind
        if (state === 'running') await here.complete()
        return state
      }),
      (async () => {
        for await (const change of client.changes({ type: 'browsed' })) {
          if (change.kind === 'job' && change.jobId === next && change.task.isTerminal) return change.task.status
        }
      })()
    ])
    const { jobId: submitted } = await client.submit('browsed', 1)
    const cancelled = await client.cancel(submitted)
    const failure = await client.status('none').catch((error: unknown) => error as { code: string })
    return { ...seen, ended: task.status, states, changed, cancelled: cancelled.status, code: (failure as { code: string }).code }
  }, { token: token(claims), jobId, next })
  t.same(outcome, {
    bytes: 20_011,
    status: 206,
    rest: `${'x'.repeat(8)}"}`,
    ended: 'succeeded',
    states: ['running', 'succeeded'],
    changed: 'succeeded',
    cancelled: 'cancelled',
    code: 'JOB_NOT_FOUND'
  })
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
