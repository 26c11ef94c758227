import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'

/*
 * One story for every generated client: submit, poll, claim, report, upload, complete, download, and the errors on the
 * way. What differs is how a client says it; that is its adapter.
 */

export type Lease = { jobId: string, leaseToken: string }
export type Status = 'Queued' | 'Running' | 'Succeeded' | 'Failed'

/** One client, generated from the document, with nothing added but what its users would write. */
export type Adapter = {
  submit: (type: string, input: unknown) => Promise<string>
  poll: (jobId: string) => Promise<Status>
  claim: (type: string) => Promise<(Lease & { input?: unknown }) | null>
  /** Returns whether a client has asked to cancel. */
  report: (lease: Lease, done: number, total: number) => Promise<boolean>
  /** Returns the offset of the next bytes. */
  upload: (lease: Lease, offset: number, bytes: Uint8Array<ArrayBuffer>) => Promise<number>
  complete: (lease: Lease, result?: { value: unknown }) => Promise<Status>
  download: (jobId: string) => Promise<Uint8Array>
  /** The result as the client parses it. */
  downloadJson: (jobId: string) => Promise<unknown>
  /** The code of the error that a poll of an unknown job gets. */
  pollUnknown: () => Promise<string>
  /** The code of the error that an old lease gets. */
  reportWith: (lease: Lease) => Promise<string>
  cancel: (jobId: string) => Promise<Status>
  list: (type: string) => Promise<string[]>
  sanitize: (content: string) => Promise<string>
  sanitizeAsync: (content: string) => Promise<string>
}

/** The address and a token of the service, and a job type of this run alone. */
export const settings = () => {
  const { BASE_URL: baseUrl = '', TOKEN: token = '' } = process.env
  return { baseUrl, token, authorization: `Bearer ${token}` }
}

/** The value, which must be there. */
export const present = <Value>(value: Value | undefined | null, what: string): Value => {
  assert.ok(value !== undefined && value !== null, `${what} is missing`)
  return value
}

const finish = async ({ poll }: Adapter, jobId: string): Promise<Status> => {
  for (;;) {
    const status = await poll(jobId)
    if (status === 'Succeeded' || status === 'Failed') return status
    await delay(100)
  }
}

const work = async (adapter: Adapter, type: string) => {
  const input = { width: 200, name: 'ü' }
  const jobId = await adapter.submit(type, input)
  assert.equal(await adapter.poll(jobId), 'Queued')
  const claimed = present(await adapter.claim(type), 'the claimed job')
  assert.equal(claimed.jobId, jobId)
  assert.deepEqual(claimed.input, input)
  assert.equal(await adapter.claim(type), null, 'no second worker gets the job')
  assert.equal(await adapter.report(claimed, 1, 2), false)
  assert.equal(await adapter.poll(jobId), 'Running')
  const bytes = Uint8Array.from({ length: 256 }, (_, at) => at)
  assert.equal(await adapter.upload(claimed, 0, bytes), 256)
  assert.equal(await adapter.upload(claimed, 256, bytes.subarray(0, 10)), 266)
  assert.equal(await adapter.complete(claimed), 'Succeeded')
  assert.equal(await finish(adapter, jobId), 'Succeeded')
  assert.deepEqual([...await adapter.download(jobId)], [...bytes, ...bytes.subarray(0, 10)])
  assert.equal(await adapter.reportWith({ ...claimed, leaseToken: 'another' }), 'LEASE_LOST')
}

const workWithJson = async (adapter: Adapter, type: string) => {
  const jobId = await adapter.submit(type, [1, null, 'x'])
  const claimed = present(await adapter.claim(type), 'the claimed job')
  assert.equal(await adapter.complete(claimed, { value: { rows: [1, 2] } }), 'Succeeded')
  assert.deepEqual(await adapter.downloadJson(jobId), { rows: [1, 2] })
  assert.ok((await adapter.list(type)).includes(jobId))
}

/** Runs the story; throws where the client does not do what it should. */
export const runStory = async (adapter: Adapter): Promise<void> => {
  const type = `story-${process.pid}`
  await work(adapter, type)
  await workWithJson(adapter, type)
  assert.equal(await adapter.pollUnknown(), 'JOB_NOT_FOUND')
  assert.equal(await adapter.cancel(await adapter.submit(type, null)), 'Failed')
  assert.equal(await adapter.sanitize('<b onclick="x()">hi</b>'), '<b>hi</b>')
  const taskId = await adapter.sanitizeAsync('<b onclick="x()">hi</b>')
  assert.equal(await finish(adapter, taskId), 'Succeeded')
  assert.equal(new TextDecoder().decode(await adapter.download(taskId)), '<b>hi</b>')
}
