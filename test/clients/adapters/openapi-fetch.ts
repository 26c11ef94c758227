import createClient from 'openapi-fetch'
import type { components, paths } from '../generated/openapi-typescript.ts'
import { present, runStory, settings } from '../story.ts'

type ErrorCode = components['schemas']['ErrorCode']

const { baseUrl, authorization } = settings()
const client = createClient<paths>({ baseUrl, headers: { authorization } })

// The types of openapi-typescript have strings for bytes; the serializer passes what is really sent.
const bytesAs = (bytes: Uint8Array<ArrayBuffer>) => ({ body: '', bodySerializer: () => bytes })

const withLease = ({ jobId, leaseToken }: { jobId: string, leaseToken: string }) =>
  ({ path: { jobId }, header: { 'lease-token': leaseToken } })

await runStory({
  submit: async (type, input) =>
    present((await client.POST('/api/v1/jobs', { body: { type, input } })).data, 'job').jobId,
  poll: async jobId =>
    present((await client.GET('/api/v1/jobs/{jobId}', { params: { path: { jobId } } })).data, 'status').status,
  claim: async type => {
    const { data, response } = await client.POST('/api/v1/worker/claim', { body: { types: [type] } })
    return response.status === 204 ? null : present(data, 'claim')
  },
  report: async (lease, done, total) => {
    const params = withLease(lease)
    const { data } = await client.POST('/api/v1/worker/jobs/{jobId}/progress', { params, body: { done, total } })
    return present(data, 'lease').cancelRequested
  },
  upload: async (lease, offset, bytes) => {
    const { data } = await client.PUT('/api/v1/worker/jobs/{jobId}/result', {
      params: { ...withLease(lease), query: { offset } },
      headers: { 'content-type': 'application/octet-stream' },
      ...bytesAs(bytes)
    })
    return present(data, 'upload').offset
  },
  complete: async (lease, result) => {
    const { data } = await client.POST('/api/v1/worker/jobs/{jobId}/complete', {
      params: withLease(lease), body: result === undefined ? {} : { result: result.value }
    })
    return present(data, 'status').status
  },
  download: async jobId => {
    const params = { path: { jobId } }
    const { data } = await client.GET('/api/v1/jobs/{jobId}/result', { params, parseAs: 'arrayBuffer' })
    return new Uint8Array(present(data, 'result'))
  },
  downloadJson: async jobId => (await client.GET('/api/v1/jobs/{jobId}/result', { params: { path: { jobId } } })).data,
  pollUnknown: async () => {
    const { error } = await client.GET('/api/v1/jobs/{jobId}', { params: { path: { jobId: 'no-such-job' } } })
    const code: ErrorCode = present(error, 'error').code
    return code
  },
  reportWith: async lease => {
    const { error } = await client.POST('/api/v1/worker/jobs/{jobId}/progress', { params: withLease(lease), body: {} })
    const code: ErrorCode = present(error, 'error').code
    return code
  },
  cancel: async jobId =>
    present((await client.POST('/api/v1/jobs/{jobId}/cancel', { params: { path: { jobId } } })).data, 'status').status,
  list: async type => {
    const { data } = await client.GET('/api/v1/jobs', { params: { query: { type } } })
    return present(data, 'list').items.map(({ jobId }) => jobId)
  },
  sanitize: async content => {
    const { data } = await client.POST('/api/sanitize', { body: { content, contentType: 'text/html' } })
    return present(data, 'sanitized').data.sanitized
  },
  sanitizeAsync: async content => {
    const { data } = await client.POST('/api/sanitize/async', { body: { content, contentType: 'text/html' } })
    return present(data, 'task').data.taskId
  }
})
