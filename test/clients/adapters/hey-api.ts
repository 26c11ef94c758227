import { client } from '../generated/hey-api/client.gen.ts'
import * as api from '../generated/hey-api/index.ts'
import { present, runStory, settings } from '../story.ts'

const { baseUrl, token } = settings()
client.setConfig({ baseUrl, auth: token })

const withLease = ({ jobId, leaseToken }: { jobId: string, leaseToken: string }) =>
  ({ path: { jobId }, headers: { 'lease-token': leaseToken } })

await runStory({
  submit: async (type, input) => present((await api.submitJob({ body: { type, input } })).data, 'job').jobId,
  poll: async jobId => present((await api.getJobStatus({ path: { jobId } })).data, 'status').status,
  claim: async type => {
    const { data, response } = await api.claimJob({ body: { types: [type] } })
    return response?.status === 200 && typeof data === 'object' ? data : null
  },
  report: async (lease, done, total) => {
    const { data } = await api.reportProgress({ ...withLease(lease), body: { done, total } })
    return present(data, 'lease').cancelRequested
  },
  upload: async (lease, offset, bytes) => {
    const { data } = await api.uploadResult({ ...withLease(lease), query: { offset }, body: new Blob([bytes]) })
    return present(data, 'upload').offset
  },
  complete: async (lease, result) => {
    const body = result === undefined ? {} : { result: result.value }
    return present((await api.completeJob({ ...withLease(lease), body })).data, 'status').status
  },
  download: async jobId => {
    const { data } = await api.getJobResult({ path: { jobId }, parseAs: 'arrayBuffer' })
    return new Uint8Array(present(data, 'result') as ArrayBuffer)
  },
  downloadJson: async jobId => (await api.getJobResult({ path: { jobId } })).data,
  pollUnknown: async () => {
    const { error } = await api.getJobStatus({ path: { jobId: 'no-such-job' } })
    const code: api.ErrorCode = present(error, 'error').code
    return code
  },
  reportWith: async lease => {
    const { error } = await api.reportProgress({ ...withLease(lease), body: {} })
    const code: api.ErrorCode = present(error, 'error').code
    return code
  },
  cancel: async jobId => present((await api.cancelJob({ path: { jobId } })).data, 'status').status,
  list: async type => present((await api.listJobs({ query: { type } })).data, 'list').items.map(({ jobId }) => jobId),
  sanitize: async content =>
    present((await api.sanitize({ body: { content, contentType: 'text/html' } })).data, 'sanitized').data.sanitized,
  sanitizeAsync: async content =>
    present((await api.sanitizeAsync({ body: { content, contentType: 'text/html' } })).data, 'task').data.taskId
})
