import { setTimeout as delay } from 'node:timers/promises'
import { createClient, createWorkerClient, type Json, workerClaims } from '../../helpers/client.ts'
import { until } from '../../helpers/until.ts'

/*
 * What happens to the job of a workflow while n8n runs it: the other side of each outcome.
 */

/** The token of n8n. */
export const n8nClaims = { sub: 'n8n', scope: 'jobs:read jobs:write', expiresIn: 3_600_000 }
// Others of the same tenant. Each request has a subject of its own, so none is limited.
let subjects = 0
const other = { ...workerClaims, tenant: 'n8n', get sub () { return `other-${subjects++}` } }

/** The bytes of every result. */
export const result = 'a,b\n1,2\n'

export type Story = {
  name: string
  /** The name of the workflow, if it is not for all. */
  only?: string
  /** Comes before the start of the execution. */
  prepare?: () => Promise<unknown>
  /** Acts on the job, from the start of the execution on. */
  act: () => Promise<unknown>
  /** The node that must run last, and what must be in the path of nodes. */
  last: string
  passes?: RegExp
}

/** The stories, on the service at `url`; `status` is how the running execution of n8n is doing. */
export const createStories = (url: string, status: () => Promise<string>): Story[] => {
  const service = createClient(url)
  const worker = createWorkerClient(service, other)
  const claim = async () => {
    const answer = await worker.claim({ types: ['report'], wait: 50 })
    if (answer.status !== 200) throw new Error(`n8n submitted nothing: ${answer.status}`)
    return await answer.json() as { jobId: string, leaseToken: string }
  }
  const succeed = async (): Promise<string> => {
    const { jobId, leaseToken } = await claim()
    await worker.upload(jobId, leaseToken, 0, result, { headers: { 'content-type': 'text/csv' } })
    await worker.report(jobId, 'complete', leaseToken, {})
    return jobId
  }
  const queued = async (): Promise<string> => await until(async () => {
    const { items } = await service.askJson('/api/v1/jobs?status=Queued', { claims: other })
    return (items as Json[])[0]?.jobId as string | undefined
  }, 'a queued job')
  const erased = async (jobId: string): Promise<void> => {
    await service.ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE', claims: other })
  }
  // Uses up the limit of n8n's token, which lets one more request pass each second.
  const exhaust = async (): Promise<void> => {
    while ((await service.ask('/api/v1/jobs?limit=1', { claims: n8nClaims })).status !== 429);
  }
  // n8n submits within this second.
  const exhaustForASecond = async (): Promise<void> => {
    for (const end = performance.now() + 1000; performance.now() < end; await delay(5)) await exhaust()
  }
  return [
    { name: 'succeeded, with a file', act: succeed, last: 'Succeeded' },
    {
      name: 'failed',
      last: 'Failed',
      act: async () => {
        const { jobId, leaseToken } = await claim()
        const error = { code: 'NO_PAPER', message: 'The tray is empty.' }
        await worker.report(jobId, 'fail', leaseToken, { error, retryable: false })
      }
    },
    {
      name: 'cancelled',
      last: 'Cancelled',
      act: async () => await service.ask(`/api/v1/jobs/${await queued()}/cancel`, { method: 'POST', claims: other })
    },
    { name: 'expired', act: async () => { await erased(await succeed()) }, last: 'Expired' },
    {
      name: '429',
      last: 'Succeeded',
      passes: /> Pause before submitting >/,
      prepare: exhaust,
      act: async () => { await Promise.all([exhaustForASecond(), succeed()]) }
    },
    {
      name: 'no callback within two minutes',
      only: 'Job status: callback',
      last: 'Succeeded',
      passes: /Wait for the callback > .* > Wait for the callback >/,
      act: async () => {
        await until(async () => await status() === 'waiting', 'the Wait node')
        // The job is claimed late: at first n8n finds it queued.
        await until(async () => await status() !== 'waiting', 'the end of the limit', 300_000)
        await until(async () => await status() === 'waiting', 'the second wait')
        await succeed()
      }
    }
  ]
}
