import assert from 'node:assert/strict'
import * as api from '../generated/orval.ts'
import { runStory, settings } from '../story.ts'

const { authorization } = settings()
const options = { headers: { authorization } }

const withLease = ({ leaseToken }: { leaseToken: string }) =>
  ({ headers: { authorization, 'lease-token': leaseToken } })

/** The body of a response with this status. */
const dataOf = <Response extends { status: number, data: unknown }, Wanted extends number>(
  response: Response, wanted: Wanted
): Extract<Response, { status: Wanted }>['data'] => {
  assert.equal(response.status, wanted)
  return response.data
}

// It reads a body as a Blob wherever one of its documented types is binary.
const blobOf = async (jobId: string) => dataOf(await api.getJobResult(jobId, {}, options), 200) as Blob

await runStory({
  submit: async (type, input) => dataOf(await api.submitJob({ type, input }, {}, options), 202).jobId,
  poll: async jobId => dataOf(await api.getJobStatus(jobId, {}, options), 200).status,
  claim: async type => {
    const response = await api.claimJob({ types: [type] }, options)
    return response.status === 204 ? null : dataOf(response, 200)
  },
  report: async (lease, done, total) =>
    dataOf(await api.reportProgress(lease.jobId, { done, total }, withLease(lease)), 200).cancelRequested,
  upload: async (lease, offset, bytes) =>
    dataOf(await api.uploadResult(lease.jobId, new Blob([bytes]), { offset }, withLease(lease)), 200).offset,
  complete: async (lease, result) => {
    const body = result === undefined ? {} : { result: result.value }
    return dataOf(await api.completeJob(lease.jobId, body, withLease(lease)), 200).status
  },
  download: async jobId => new Uint8Array(await (await blobOf(jobId)).arrayBuffer()),
  downloadJson: async jobId => JSON.parse(await (await blobOf(jobId)).text()),
  pollUnknown: async () => {
    const code: api.ErrorCode = dataOf(await api.getJobStatus('no-such-job', {}, options), 404).code
    return code
  },
  reportWith: async lease => {
    const code: api.ErrorCode = dataOf(await api.reportProgress(lease.jobId, {}, withLease(lease)), 409).code
    return code
  },
  cancel: async jobId => dataOf(await api.cancelJob(jobId, {}, options), 200).status,
  list: async type => dataOf(await api.listJobs({ type }, options), 200).items.map(({ jobId }) => jobId),
  sanitize: async content =>
    dataOf(await api.sanitize({ content, contentType: 'text/html' }, options), 200).data.sanitized,
  sanitizeAsync: async content => {
    // Where a body has several documented types it names none, so its caller does.
    const headers = { authorization, 'content-type': 'application/json' }
    return dataOf(await api.sanitizeAsync({ content, contentType: 'text/html' }, {}, { headers }), 202).data.taskId
  }
})
