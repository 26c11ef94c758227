import { text } from 'node:stream/consumers'
import t from 'tap'
import { createApi } from '../../src/ui/api/api.ts'
import { download } from '../../src/ui/state/download.ts'
import { memoryBytesMax } from '../../src/ui/state/preview.ts'
import { createWorkerClient } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'
import { token, type TokenClaims } from '../helpers/tokens.ts'

/*
 * Downloads of a real result, as a browser with and without a way to write files makes them.
 */

const service = await startService(t, { WORKERS: '0' })
const worker = createWorkerClient(service)
const claims: TokenClaims = { scope: 'jobs:read jobs:write jobs:work' }
const api = createApi({ base: `${service.url}/`, fetch, token: () => token(claims), onRejected: () => {} })
const { signal } = new AbortController()

const jobId = await service.submit('bytes', 1, { claims })
const { leaseToken } = await worker.claimed('bytes')
await worker.upload(jobId, leaseToken, 0, 'a,b\n1,2\n', { headers: { 'content-type': 'text/html' } })
await worker.report(jobId, 'complete', leaseToken, {})
const path = `api/v1/jobs/${jobId}/result`

t.test('a result is saved as bytes that no browser displays', async t => {
  const saved: Blob[] = []
  let received = 0
  const save = (blob: Blob, name: string) => {
    t.equal(name, 'a.html')
    saved.push(blob)
  }
  const end = await download(
    { api, chooseFile: null, save }, path, { fileName: 'a.html', sizeBytes: 8 }, signal, bytes => { received = bytes }
  )
  t.equal(end, 'saved')
  t.equal(received, 8)
  t.same([saved[0]?.type, await saved[0]?.text()], ['application/octet-stream', 'a,b\n1,2\n'])
})

t.test('a large result goes straight to the file that the user chose, or is left to the command line', async t => {
  const large = { fileName: 'a.html', sizeBytes: memoryBytesMax + 1 }
  const save = () => { t.fail('it is kept in memory') }
  t.equal(await download({ api, chooseFile: null, save }, path, large, signal, () => {}), 'too-large')
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const chooseFile = (name: string) => {
    t.equal(name, 'a.html')
    return Promise.resolve({ createWritable: () => Promise.resolve(writable) })
  }
  const [written, end] = await Promise.all([
    text(readable), download({ api, chooseFile, save }, path, large, signal, () => {})
  ])
  t.same([written, end], ['a,b\n1,2\n', 'saved'])
})

t.test('a download that fails says why', async t => {
  const save = () => { t.fail('nothing is saved') }
  const missing = download({ api, chooseFile: null, save }, 'api/v1/jobs/none/result', { fileName: 'a', sizeBytes: 1 }, signal, () => {})
  await t.rejects(missing, { status: 404, code: 'JOB_NOT_FOUND' })
})
