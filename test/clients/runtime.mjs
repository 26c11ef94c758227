import assert from 'node:assert/strict'
import process from 'node:process'
import { createClient, JobServiceError } from 'job-status-service/client'

/*
 * A drive of every call of the client, as a program of a user: plain JavaScript, for runtimes that know no types.
 */

const { BASE_URL: url, TOKEN: token, TYPE: type } = process.env
const client = createClient({ url, token: async () => token })

const bytes = Uint8Array.from({ length: 3_000_000 }, (_, at) => at * 31 % 251)
const worker = client.worker([type], async ({ input, progress, signal }) => {
  assert.deepEqual(input, { n: 1 })
  await progress({ percent: 50, message: 'half' })
  signal.throwIfAborted()
  return new Response(bytes, { headers: { 'content-type': 'application/x-bytes' } })
})

const mirror = client.changes({ type })
assert.equal((await mirror.next()).value.kind, 'reset')
const { jobId } = await client.submit(type, { n: 1 })
const connections = []
const followed = (async () => {
  const states = []
  for await (const event of client.events(jobId, { onState: state => { connections.push(state) } })) states.push(event.task.status)
  return states
})()
const task = await client.waitFor(jobId, { onProgress: ({ status }) => { assert.match(status, /^(queued|running)$/) } })
assert.equal(task.status, 'succeeded')
assert.equal((await followed).at(-1), 'succeeded')
assert.deepEqual([connections[0], connections.at(-1)], ['connecting', 'ended'])
for await (const change of mirror) if (change.kind === 'job' && change.task.isTerminal) break

const whole = await client.result(jobId)
assert.equal(whole.headers.get('content-type'), 'application/x-bytes')
assert.deepEqual(new Uint8Array(await whole.arrayBuffer()), bytes)
const rest = await client.result(jobId, { offset: 2_999_000, eTag: whole.headers.get('etag') })
assert.equal(rest.status, 206)
assert.deepEqual(new Uint8Array(await rest.arrayBuffer()), bytes.subarray(2_999_000))

const listed = []
for await (const { taskId } of client.list({ type })) listed.push(taskId)
assert.deepEqual(listed, [jobId])
const { items } = await (await client.request(`/api/v1/jobs/${jobId}/attempts`)).json()
assert.equal(items[0].outcome, 'succeeded')
await worker.stop()
const { jobId: other } = await client.submit(type, { n: 1 })
const controller = new AbortController()
const waiting = client.waitFor(other, { signal: controller.signal })
controller.abort(new Error('enough'))
await assert.rejects(waiting, { message: 'enough' })
assert.equal((await client.cancel(other)).status, 'cancelled')
await assert.rejects(client.status('none'), error => error instanceof JobServiceError && error.code === 'JOB_NOT_FOUND')
