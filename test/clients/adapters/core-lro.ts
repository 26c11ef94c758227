import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { createHttpPoller, type OperationState, type RunningOperation } from '@azure/core-lro'
import {
  createDefaultHttpClient, createHttpHeaders, createPipelineRequest, type HttpMethods
} from '@azure/core-rest-pipeline'
import { settings } from '../story.ts'

/*
 * The poller of long-running operations that Azure's SDKs use: it follows Operation-Location until the `status` there
 * is one of its terminal ones, then reads Location.
 */

type Job = { jobId: string, status: string, resultUrl: string | null }

const { baseUrl, authorization } = settings()
const http = createDefaultHttpClient()
const polled: string[] = []

const send = async (method: HttpMethods, url: string, body?: unknown) => {
  const contentType: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
  const headers = createHttpHeaders({ authorization, ...contentType })
  const request = createPipelineRequest({
    method, url, headers, allowInsecureConnection: true, ...(body === undefined ? {} : { body: JSON.stringify(body) })
  })
  const response = await http.sendRequest(request)
  const parsed = JSON.parse(response.bodyAsText ?? '')
  const rawResponse = {
    statusCode: response.status, headers: response.headers.toJSON(), body: parsed, request: { method, url, body }
  }
  return { flatResponse: parsed, rawResponse }
}

const start = (path: string, body: unknown) => {
  const operation: RunningOperation = {
    sendInitialRequest: () => send('POST', baseUrl + path, body),
    sendPollRequest: async url => {
      const response = await send('GET', url)
      polled.push(response.flatResponse.status)
      return response
    }
  }
  return createHttpPoller<Job, OperationState<Job>>(operation, { baseUrl, intervalInMs: 50 })
}

const ask = async (method: HttpMethods, path: string, body?: unknown) =>
  (await send(method, baseUrl + path, body)).flatResponse

/** Waits until the poller has seen the job in this status. */
const sees = async (status: string) => { while (!polled.includes(status)) await delay(20) }

const type = `lro-${process.pid}`
const submission = start('/api/v1/jobs', { type, input: 1 })
const ended = submission.pollUntilDone()
await sees('Queued')
const { jobId, leaseToken } = await ask('POST', '/api/v1/worker/claim', { types: [type] })
await sees('Running')
assert.equal(submission.isDone, false, 'a running job is not taken for done')
const headers = { authorization, 'lease-token': leaseToken, 'content-type': 'application/json' }
await fetch(`${baseUrl}/api/v1/worker/jobs/${jobId}/complete`, { method: 'POST', headers, body: '{"result":[1]}' })
const job = await ended
assert.equal(submission.operationState?.status, 'succeeded')
assert.deepEqual([job.jobId, job.status], [jobId, 'Succeeded'])

const sanitized = start('/api/sanitize/async', { content: '<b>x</b>', contentType: 'text/html' })
const task = await sanitized.pollUntilDone()
assert.equal(task.status, 'Succeeded')
assert.ok(task.resultUrl)

const cancelled = start('/api/v1/jobs', { type, input: 2 })
const rejected = assert.rejects(cancelled.pollUntilDone(), /failed/)
await cancelled.poll()
const { items: [queued] } = await ask('GET', `/api/v1/jobs?type=${type}&status=Queued`)
await ask('POST', `/api/v1/jobs/${queued.jobId}/cancel`)
await rejected
assert.equal(cancelled.operationState?.status, 'failed')
