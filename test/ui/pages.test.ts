import { text } from 'node:stream/consumers'
import t from 'tap'
import { createApi } from '../../src/ui/api/api.ts'
import { download } from '../../src/ui/state/job/download.ts'
import { noFilters } from '../../src/ui/state/table/filters.ts'
import { JobsPage } from '../../src/ui/state/table/jobs-page.ts'
import { rowsMax } from '../../src/ui/state/table/job-list.ts'
import { memoryBytesMax } from '../../src/ui/state/job/preview.ts'
import type { Schedule } from '../../src/ui/state/schedule.ts'
import { ServicePage } from '../../src/ui/state/service/service-page.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'
import { token, type TokenClaims } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

/*
 * What the page keeps of a real service, without its views.
 */

const service = await startService(t, { WORKERS: '0' })
const worker = createWorkerClient(service)
const claims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work jobs:admin' }
const rejected: string[] = []
const openApi = (fetchAs: typeof fetch = fetch, text: () => string | null = () => token(claims)) =>
  createApi({ base: `${service.url}/`, fetch: fetchAs, token: text, onRejected: (sent, reason) => { rejected.push(`${sent}: ${reason}`) } })
const api = openApi()
const { signal } = new AbortController()

const jobId = await service.submit('bytes', 1, { claims })
const { leaseToken } = await worker.claimed('bytes')
await worker.upload(jobId, leaseToken, 0, 'a,b\n1,2\n', { headers: { 'content-type': 'text/html' } })
await worker.report(jobId, 'complete', leaseToken, {})
const open = () => api.result(jobId, { signal })

t.test('a result is saved as bytes that no browser displays', async t => {
  const saved: Blob[] = []
  let received = 0
  const save = (blob: Blob, name: string) => {
    t.equal(name, 'a.html')
    saved.push(blob)
  }
  const end = await download(
    { chooseFile: null, save }, open, { fileName: 'a.html', sizeBytes: 8 }, signal, bytes => { received = bytes }
  )
  t.equal(end, 'saved')
  t.equal(received, 8)
  t.same([saved[0]?.type, await saved[0]?.text()], ['application/octet-stream', 'a,b\n1,2\n'])
})

t.test('a large result goes straight to the file that the user chose, or is left to the command line', async t => {
  const large = { fileName: 'a.html', sizeBytes: memoryBytesMax + 1 }
  const save = () => { t.fail('it is kept in memory') }
  t.equal(await download({ chooseFile: null, save }, open, large, signal, () => {}), 'too-large')
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const chooseFile = (name: string) => {
    t.equal(name, 'a.html')
    return Promise.resolve({ createWritable: () => Promise.resolve(writable) })
  }
  const [written, end] = await Promise.all([
    text(readable), download({ chooseFile, save }, open, large, signal, () => {})
  ])
  t.same([written, end], ['a,b\n1,2\n', 'saved'])
})

t.test('a download that fails says why', async t => {
  const save = () => { t.fail('nothing is saved') }
  const missing = () => api.result('none', { signal })
  await t.rejects(download({ chooseFile: null, save }, missing, { fileName: 'a', sizeBytes: 1 }, signal, () => {}), {
    status: 404, code: 'JOB_NOT_FOUND'
  })
})

t.test('a token that is rejected is asked for again, and none is sent where there is none', async t => {
  await t.rejects(openApi(fetch, () => 'garbage').json('/api/v1/service'), { code: 'UNAUTHORIZED' })
  t.match(rejected, [/^garbage: /])
  const none = openApi(async () => { throw new Error('sent') }, () => null)
  await t.rejects(none.json('/api/v1/service'), { status: 401, code: 'UNAUTHORIZED' })
})

t.test('a table that is held keeps no more changes than it has rows', async t => {
  const page = new JobsPage({ api, now: Date.now, schedule: () => ({ cancel: () => {} }), onChange: () => {}, onResponse: () => {} })
  t.teardown(() => { page.hide() })
  page.show(noFilters)
  await until(() => page.stream() === 'live', 'the feed')
  page.toggleHold()
  await service.sql(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowsMax + 200})
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'held-' || i, 'Succeeded' FROM n`)
  await service.sql("INSERT INTO JobExecutionLog (jobId, status, type) VALUES ('last', 'Succeeded', 'last')")
  await until(() => page.types().includes('last'), 'the last change')
  t.equal(page.held(), rowsMax + 1)
  page.toggleHold()
  await until(() => page.list.find('last') !== undefined, 'a new list')
})

t.test('behind one address with two processes the samples are those of one, and are asked for at most twice', async t => {
  const other = await startService(t, { WORKERS: '0' }, `${service.databasePath}.other`)
  const asked: string[] = []
  const alternating: typeof fetch = async (target, init) => {
    const url = target as string
    asked.push(url)
    return await fetch(asked.length % 2 === 0 ? url.replace(service.url, other.url) : url, init)
  }
  let work = () => {}
  const schedule: Schedule = next => {
    work = next
    return { cancel: () => {} }
  }
  const page = new ServicePage({ api: openApi(alternating), schedule, onChange: () => {} })
  page.show()
  await until(() => page.view().state !== null, 'the first process')
  const first = page.view().state
  for (const count of [3, 5]) {
    work()
    await until(() => asked.length === count && page.view().state !== first, 'the next read')
  }
  t.same(asked.map(url => url.includes('since=')).slice(1), [true, false, true, false])
  page.reset()
  t.equal(page.view().state, null)
})
